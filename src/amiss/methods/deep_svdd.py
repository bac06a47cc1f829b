"""Deep SVDD (Ruff et al. 2018), a baseline of ALPS table I."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..detectors.reconstructor import diagnose_svdd
from ..lazy import torch
from ..settings import setting

#: Coordinates of the centre are at least so far from zero, which zero weights would reach (the authors' figure).
_AWAY_FROM_ZERO = 0.1


@dataclass(kw_only=True, eq=False)
class DeepSVDD(Detector["networks.embedding.SphereScorer"]):
    """A network without biases learns to embed all normal images near one point; what lies far from it is anomalous.

    The centre is the mean embedding of the untrained network, and stays. Score: squared distance to it. Adam with
    weight decay; the learning rate falls to a tenth in the last quarter of the epochs. The authors train an
    autoencoder first; here the network starts untrained. Filters and sizes are ours.

    >>> DeepSVDD().get_params()["objective"]
    'one-class'
    """

    title: ClassVar[str] = "Deep support vector data description"
    paper: ClassVar[str] = "Ruff et al. 2018; in Khazaie 2022, table I"
    family: ClassVar[str] = "compares embeddings"
    good_for: ClassVar[str] = "a baseline; small pictures of one kind of object; gives no map"

    epochs: int = setting(50, "passes through the training images", low=1)
    learning_rate: float = setting(1e-4, "of the optimizer", low=0.0)
    objective: str = setting("one-class", "what is minimised", choices=("one-class", "soft-boundary"))
    nu: float = setting(0.1, "share of normals that may lie outside the soft boundary", low=1e-3, high=1.0)
    dimensions: int = setting(32, "of the embedding", low=2)
    weight_decay: float = setting(1e-6, "of the optimizer", low=0.0)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "fewest_steps": 2}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.embedding.SphereScorer:
        embedding = networks.embedding.Embedding(shape, self.dimensions)
        return networks.embedding.SphereScorer(embedding, self.dimensions)

    def stages(
        self, scorer: networks.embedding.SphereScorer
    ) -> Sequence[training.stage.Stage | training.stage.Computation]:
        sphere, network = scorer.sphere, scorer.network

        def centre(context: training.stage.StageContext) -> dict[str, float]:
            # else the untrained network would not normalise at all
            torch.optim.swa_utils.update_bn(context.train.batches(), network)
            embeddings = (network(part) for part in context.train.batches())
            return sphere.fit_centre(embeddings, self.nu, _AWAY_FROM_ZERO)

        def falling(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.MultiStepLR:
            return torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps * 3 // 4])

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return {"svdd": sphere.loss(network(batch.images), self.objective == "soft-boundary", self.nu)}

        def monitor(held: training.stage.Held) -> float:
            return float(scorer(held.images)["score"].mean())

        player = training.stage.Player(
            "embedding",
            list(network.parameters()),
            terms,
            self.learning_rate,
            training.stage.Schedule(falling, "step"),
            optimizer=functools.partial(torch.optim.Adam, weight_decay=self.weight_decay),
        )
        fit = training.stage.Stage(
            "fit",
            [player],
            self.epochs,
            monitor,
            fewest_steps=self.fewest_steps,
            keep="last",
            measure=lambda images: {"spread": sphere.spread(network(images))},
            diagnose=diagnose_svdd,
        )
        return [training.stage.Computation("centre", centre), fit]
