"""Located ADACL: created local anomalies, told apart at every location (after Khazaie's thesis, chapter 4 and 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import anomalies as synthetic
from .. import networks, objectives, training
from ..anomalies.kinds import EDGES, LOCAL, VARIATIONS
from ..detectors.detector import Detector
from ..environment import versions
from ..errors import UsageError
from ..lazy import torch
from ..settings import Words, setting

#: Images with created anomalies whose loss chooses the epoch; few stop images are used several times.
_VALIDATION_IMAGES = 128
#: Patch features among which the memory bank chooses.
_CANDIDATES = 8000
#: Labelled defects in a batch, as a share of its normal images: so many are pasted, and so many stand as they are.
_KNOWN = 0.25
#: Weight of a defect without a mask, whose highest outputs count for all of it.
_UNMARKED = 0.1


@dataclass(kw_only=True, eq=False)
class LocatedADACL(Detector["networks.pyramid.PyramidScorer"]):
    """A small network tells, at every location, whether a local anomaly was created there; a memory bank helps it.

    ADACL asked of every location: normal ones draw their labels from [0, normal_high], changed ones from
    [anomaly_low, 1], partly changed ones lie in between. Created anomalies are local: pasted patches, scars, changes
    of light and texture, from a few pixels to a quarter of the image. After training, a memory bank keeps the network's
    features of normal patches; the distance to the nearest of them is added to the network's output, each scaled on the
    stop part. An image's score is the mean of the map's highest values.

    >>> LocatedADACL(vary="flip,light").get_params()["map_stride"]
    4
    """

    title: ClassVar[str] = "ADACL for every place of the image"
    paper: ClassVar[str] = "Khazaie 2022, thesis, 5.4 (new augmentations)"
    family: ClassVar[str] = "tells created anomalies apart"
    needs: ClassVar[str] = "normal images; better with a few labelled defects, and best with their masks"
    good_for: ClassVar[str] = "small defects, and where they are; minutes to fit on a CPU"
    has_map: ClassVar[bool] = True
    takes_backbone: ClassVar[bool] = True

    epochs: int = setting(12, "epochs of `steps` steps each", low=1)
    steps: int = setting(250, "training steps in an epoch, however many images there are", low=1)
    batch_size: int = setting(32, "normal images in each training step", low=2)
    learning_rate: float = setting(2e-3, "of the optimizer at its highest, one cycle", low=0.0)
    anomalies: tuple[str, ...] = setting(
        LOCAL, "kinds of created anomalies, with commas between", kind=Words(LOCAL, least=1)
    )
    edges: tuple[str, ...] = setting(
        ("hard", "soft"),
        "how created anomalies meet the image: hard, soft, poisson, with commas between",
        kind=Words(EDGES, least=1),
    )
    untouched: float = setting(0.25, "share of the training images that get no anomaly", low=0.0, high=0.9)
    vary: tuple[str, ...] = setting(
        (), "how normal images vary, with commas between: rotate, shift, flip, light; or none", kind=Words(VARIATIONS)
    )
    loss: str = setting("bce", "of each location: bce, or mse as in ADACL", choices=("mse", "bce"))
    normal_high: float = setting(0.0, "X_L: labels of normal locations are drawn from 0 to this", low=0.0, high=1.0)
    anomaly_low: float = setting(1.0, "X_H: labels of changed locations are drawn from this to 1", low=0.0, high=1.0)
    width: int = setting(16, "filters of the network's first level", low=1)
    describe: float = setting(0.3, "weight of saying also what happened to a location; training only", low=0.0)
    dropout: float = setting(0.2, "share of the filters that a training step goes without", low=0.0, high=0.9)
    map_stride: int = setting(4, "pixels from one location of the map to the next: 4 or 8", low=4, high=8)
    top: float = setting(0.01, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)
    memory: int = setting(1000, "normal patches in the memory bank; 0 for the network alone", low=0)
    components: int = setting(64, "principal components of the features in which patches are compared", low=1)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"steps": 25}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "steps": 2}

    @classmethod
    def varied_settings(cls, vary: tuple[str, ...]) -> dict[str, object]:
        return {"vary": vary}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.pyramid.PyramidScorer:
        regressor: networks.pyramid.PyramidRegressor | networks.pyramid.FeatureRegressor
        if backbone is None:
            regressor = networks.pyramid.PyramidRegressor(shape, self.width, self.map_stride, self.dropout)
            size = shape[1:]
        else:
            regressor = networks.pyramid.FeatureRegressor(backbone.shape[0], self.width)
            size = backbone.shape[1:]
        memory: networks.memory_bank.MemoryBank | None = None
        if self.memory:
            memory = networks.memory_bank.MemoryBank(sum(regressor.widths), self.components, neighbours=1)
        return networks.pyramid.PyramidScorer(regressor, size, self.top, memory)

    def stages(
        self, scorer: networks.pyramid.PyramidScorer
    ) -> Sequence[training.stage.Stage | training.stage.Computation]:
        def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
            return torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=self.learning_rate, total_steps=steps, pct_start=0.1
            )

        creator = synthetic.local.LocalAnomalies(self.anomalies, self.edges)

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            known = None if batch.anomalies is None or batch.masks is None else (batch.anomalies, batch.masks)
            return {"map loss": self._map_loss(scorer, batch.images, batch.generator, batch.features, creator, known)}

        def monitor(held: training.stage.Held) -> float:
            repeated = held.images[torch.arange(_VALIDATION_IMAGES) % len(held.images)]
            losses = [
                self._map_loss(scorer, part, held.generator, held.features, creator)
                for part in torch.split(repeated, self.batch_size)
            ]
            return float(torch.stack(losses).mean())

        schedule = training.stage.Schedule(one_cycle, "step")
        weights = scorer.regressor.parameters()
        player = training.stage.Player("regressor", weights, terms, self.learning_rate, schedule)
        stages: list[training.stage.Stage | training.stage.Computation] = [
            training.stage.Stage("fit", [player], self.epochs, monitor, steps=self.steps),
            training.stage.Computation("scale", lambda context: self._fit_scale(scorer, context)),
        ]
        if creator.needs_bank:
            blend = training.stage.Computation("anomaly bank", lambda context: self._fill_bank(creator, context))
            stages.insert(0, blend)
        if scorer.memory is not None:
            memory = scorer.memory
            keep = training.stage.Computation("memory bank", lambda context: self._fit_memory(scorer, memory, context))
            stages.insert(-1, keep)
        return stages

    def check(self) -> None:
        super().check()
        if "poisson" in self.edges:
            versions.require("train", "edges=poisson", "cv2")
        if self.normal_high >= self.anomaly_low:
            raise UsageError(
                f"normal_high ({self.normal_high}) must be below anomaly_low ({self.anomaly_low}), or labels overlap"
            )
        if self.map_stride not in (4, 8):
            raise UsageError(f"map_stride must be 4 or 8, but is {self.map_stride}")

    def learns_from_anomalies(self) -> bool:
        return True

    def _map_loss(
        self,
        scorer: networks.pyramid.PyramidScorer,
        images: torch.Tensor,
        generator: torch.Generator,
        features: Callable[[torch.Tensor], torch.Tensor],
        creator: synthetic.local.LocalAnomalies,
        known: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        functional = torch.nn.functional
        with torch.autocast(images.device.type, enabled=False):  # half precision misplaces what is moved
            images = synthetic.variation.varied(images, generator, self.vary)
            created, changed = creator.create(images, generator)
            touched = (torch.rand(len(images), generator=generator) >= self.untouched).to(images)[:, None, None, None]
            before, images, changed = images, images + touched * (created - images), changed * touched
            if known is not None:
                images, changed = self._with_defects(images, changed, known, generator)
        regressor = scorer.regressor
        _, outputs, described = regressor.describe(_as_input(features(images)))
        outputs = outputs.float()
        marked = (changed >= 0).flatten(1).all(dim=1)
        share = functional.adaptive_avg_pool2d(changed, (outputs.shape[1], outputs.shape[2]))[:, 0]
        labels = objectives.continuous_labels.draw_label_map(
            share.clamp(min=0), generator, self.normal_high, self.anomaly_low
        )
        loss = self._error(outputs[marked], labels[marked])
        if self.describe:
            what = synthetic.local.described(before, images[: len(before)], outputs.shape[1:])
            loss = loss + self.describe * functional.smooth_l1_loss(described[: len(before)].float(), what)
        if not marked.all():  # a defect is somewhere: where the outputs are highest
            unmarked = outputs[~marked].flatten(1)
            highest = unmarked.topk(max(1, round(self.top * unmarked.shape[1])), dim=1).values
            loss = loss + _UNMARKED * self._error(highest, torch.full_like(highest, self.anomaly_low))
        return loss

    def _error(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.loss == "bce":
            return torch.nn.functional.binary_cross_entropy_with_logits(outputs, labels)
        return torch.nn.functional.mse_loss(outputs, labels)

    def _with_defects(
        self,
        images: torch.Tensor,
        changed: torch.Tensor,
        known: tuple[torch.Tensor, torch.Tensor],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Labelled defects pasted into a part of the images, and as many of them as they are, behind the others."""
        varied = synthetic.variation.varied
        count = max(1, round(_KNOWN * len(images)))
        chosen = torch.arange(count) % len(known[0])
        defects, masks = known[0][chosen], known[1][chosen].to(images)
        both = torch.cat([defects, masks], dim=1)
        moved = varied(both, generator, [variation for variation in self.vary if variation != "light"])
        defects, masks = moved[:, :-1], moved[:, -1:].round()
        defects = varied(defects, generator, [variation for variation in self.vary if variation == "light"])
        images, changed = images.clone(), changed.clone()
        with_mask = (masks >= 0).flatten(1).all(dim=1).nonzero()[:, 0]
        if len(with_mask):
            into = torch.arange(len(with_mask), device=images.device)
            pasted, marks = synthetic.local.paste_defects(images[into], defects[with_mask], masks[with_mask], generator)
            images[into], changed[into] = pasted, torch.maximum(changed[into], marks)
        return torch.cat([images, defects]), torch.cat([changed, masks])

    def _fill_bank(
        self, creator: synthetic.local.LocalAnomalies, context: training.stage.StageContext
    ) -> dict[str, float]:
        """Anomalies with Poisson edges, which take too long to blend in every step."""
        chosen = torch.randperm(len(context.train), generator=context.generator)[:256]
        images = synthetic.variation.varied(context.train[chosen], context.generator, self.vary)
        creator.prepare(images, context.generator)
        return {}

    def _fit_memory(
        self,
        scorer: networks.pyramid.PyramidScorer,
        memory: networks.memory_bank.MemoryBank,
        context: training.stage.StageContext,
    ) -> dict[str, float]:
        views = 3 if self.vary else 1
        chosen = torch.randperm(len(context.train), generator=context.generator)[:_CANDIDATES]
        each = -(-_CANDIDATES // (len(chosen) * views))
        candidates = []
        for part in torch.split(chosen.repeat(views), 64):
            images = synthetic.variation.varied(context.train[part], context.generator, self.vary)
            levels, _ = scorer.regressor(_as_input(context.features(images)))
            patches = memory.patch_features(levels)
            candidates.append(networks.memory_bank.sample_patch_features(patches, each, context.generator))
        memory.fit(torch.cat(candidates), self.memory, context.generator)
        return {"kept": float(len(memory.get_buffer("kept")))}

    def _fit_scale(
        self, scorer: networks.pyramid.PyramidScorer, context: training.stage.StageContext
    ) -> dict[str, float]:
        parts = [scorer.parts(_as_input(context.features(images))) for images in context.stop.batches(64)]
        scorer.fit_scale({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return {}


def _as_input(features: torch.Tensor) -> torch.Tensor:
    """In the layout that convolutions are fastest with."""
    return features.contiguous(memory_format=torch.channels_last)
