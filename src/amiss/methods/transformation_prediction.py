"""A classifier of transformations, and nearest neighbours in its features (after Sohn et al. 2021)."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..anomalies.kinds import TRANSFORMATIONS, telling_transformations
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import Words, setting

#: A loss on held-out images above this share of what guessing costs says that nothing was learnt.
_GUESSING = 0.95


@dataclass(kw_only=True, eq=False)
class TransformationPrediction(Detector["networks.transformation_classifier.TransformationScorer"]):
    """A network learns which transformation a normal image went through; its features are compared with normal ones.

    First a small network is trained to tell by which quarter turn, and by which move of a quarter of the sides, an
    image was transformed (Golan and El-Yaniv 2018; one classifier for each kind, as in Hendrycks et al. 2019). Then
    its features, before the hidden layer, are kept for normal images in each quarter turn (two stages, as in Sohn et
    al. 2021). Score: mean distance to the nearest kept ones, higher where features are short (Tack et al. 2020).

    A transformation that normal images show anyway teaches nothing: leave it out of `transformations`.

    Known weakness: textures and small defects.

    >>> TransformationPrediction().get_params()["transformations"]
    ('rotate', 'shift')
    """

    title: ClassVar[str] = "Neighbours in the features of a transformation classifier"
    paper: ClassVar[str] = "after Sohn et al. 2021 (DROC); Golan and El-Yaniv 2018"
    family: ClassVar[str] = "compares embeddings"
    good_for: ClassVar[str] = "another kind of object, where objects stand upright; minutes to fit; gives no map"

    epochs: int = setting(12, "epochs of `steps` steps each", low=1)
    steps: int = setting(100, "training steps in an epoch, however many images there are", low=1)
    batch_size: int = setting(32, "normal images in each training step, each shown in several transformations", low=2)
    learning_rate: float = setting(0.1, "of the optimizer at its highest, one cycle", low=0.0)
    transformations: tuple[str, ...] = setting(
        ("rotate", "shift"),
        "what is told apart: rotate, shift, flip, shear, with commas between; only what normal images do not show",
        kind=Words(TRANSFORMATIONS, least=1),
    )
    width: int = setting(32, "filters of the network's first level", low=1)
    neighbours: int = setting(3, "nearest normal images whose distances are averaged", low=1)
    small: int = setting(48, "longest side of the small copies that the network sees, in pixels", low=8)
    components: int = setting(128, "principal components of the features in which images are compared", low=1)
    shrinkage: float = setting(1.0, "added to every variance, as a share of the mean variance", low=1e-6)
    length_power: float = setting(
        0.5, "how much short features, of what the network does not know, raise scores", low=0.0
    )
    kept: int = setting(5000, "normal images kept, drawn at random where there are more", low=1)
    weight_decay: float = setting(5e-4, "of the optimizer", low=0.0)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"steps": 10}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "steps": 2}

    @classmethod
    def varied_settings(cls, vary: tuple[str, ...]) -> dict[str, object]:
        return {"transformations": telling_transformations(vary)}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.transformation_classifier.TransformationScorer:
        return networks.transformation_classifier.TransformationScorer(
            shape, self.small, self.width, self.transformations, self.neighbours, self.length_power
        )

    def stages(
        self, scorer: networks.transformation_classifier.TransformationScorer
    ) -> Sequence[training.stage.Stage | training.stage.Computation]:
        classifier = scorer.classifier

        def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
            return torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=self.learning_rate, total_steps=steps, pct_start=0.15, cycle_momentum=False
            )

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return self._losses(scorer, batch.images, batch.generator)

        def monitor(held: training.stage.Held) -> float:
            parts = [self._losses(scorer, part, held.generator) for part in torch.split(held.images, self.batch_size)]
            return float(torch.stack([loss for part in parts for loss in part.values()]).mean())

        def keep(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[: self.kept].sort().values
            features = [scorer.describe(context.train[part]) for part in torch.split(chosen, 256)]
            scorer.fit(torch.cat(features, dim=1), self.components, self.shrinkage)
            return {"kept": float(len(chosen))}

        player = training.stage.Player(
            "classifier",
            list(classifier.parameters()),
            terms,
            self.learning_rate,
            training.stage.Schedule(one_cycle, "step"),
            optimizer=functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=self.weight_decay),
        )
        return [
            training.stage.Stage(
                "fit", [player], self.epochs, monitor, steps=self.steps, keep="last", diagnose=self._diagnose
            ),
            training.stage.Computation("neighbours", keep),
        ]

    def _losses(
        self,
        scorer: networks.transformation_classifier.TransformationScorer,
        images: torch.Tensor,
        generator: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """The cross-entropy of each kind of transformation, of images that are shown once in each view."""
        transformation = networks.transformation_classifier
        views = len(transformation.states(self.transformations[0]))
        with torch.autocast(images.device.type, enabled=False):  # half precision misplaces what is moved
            small = scorer.downsample(images).repeat_interleave(views, dim=0)
            labels, matrices = transformation.draw_states(len(small), self.transformations, generator)
            seen = transformation.transformed(small, transformation.grids(matrices, *small.shape[2:]))
        answers = scorer.classifier(seen)
        cross_entropy = torch.nn.functional.cross_entropy
        return {
            kind: cross_entropy(logits.float(), true.to(images.device))
            for kind, logits, true in zip(self.transformations, answers, labels.unbind(dim=1), strict=True)
        }

    def _diagnose(self, figures: Sequence[Mapping[str, float]]) -> list[str]:
        """Warns where transformations cannot be told apart, so that features mean nothing."""
        states = networks.transformation_classifier.states
        guessing = sum(math.log(len(states(kind))) for kind in self.transformations) / len(self.transformations)
        if figures[-1]["stop"] < _GUESSING * guessing:
            return []
        return [
            f"the transformations {','.join(self.transformations)} of normal images cannot be told apart; set "
            "transformations to others that normal images do not show, or raise epochs"
        ]
