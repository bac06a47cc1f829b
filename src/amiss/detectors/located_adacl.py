"""Located ADACL: created local anomalies and an answer for every place (after Khazaie's thesis, chapter 4 and 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError
from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from ..anomalies.local import LocalAnomalies
    from ..training.stage import Batch, Computation, Pass, Stage

#: By their names in `amiss.anomalies.local` and `amiss.anomalies.variation`, which need torch.
_KINDS = ("paste", "scar", "light", "texture")
_EDGES = ("hard", "soft", "poisson")
_WAYS = ("rotate", "shift", "flip", "light")
#: Images with created anomalies whose loss chooses the epoch; few stop images are used several times.
_VALIDATION_IMAGES = 128
#: Places among which the memory chooses.
_CANDIDATES = 8000
#: Labelled defects in a batch, as a share of its normal images: so many are pasted, and so many stand as they are.
_KNOWN = 0.25
#: Weight of a defect without a mask, of which one place counts for all.
_UNMARKED = 0.1


@dataclass(kw_only=True, eq=False)
class LocatedADACL(Detector):
    """A small network tells, for every place, whether a local anomaly was created there; a memory of places helps it.

    ADACL asked of every place: normal places draw their labels from [0, normal_high], changed ones from
    [anomaly_low, 1], partly changed ones lie in between. Created anomalies are local: pasted patches, scars, changes
    of light and texture, from a few pixels to a quarter of the image. After training, the network's features of normal
    places are remembered; how far a place lies from the nearest is added to the network's answer, each scaled on the
    stop part. An image's score is the mean of its highest places.

    >>> LocatedADACL(vary="flip,light").get_params()["map_stride"]
    4
    """

    title: ClassVar[str] = "ADACL for every place of the image"
    paper: ClassVar[str] = "Khazaie 2022, thesis, 5.4 (new augmentations)"
    family: ClassVar[str] = "tells created anomalies apart"
    needs: ClassVar[str] = "normal images; better with a few labelled defects, and best with their masks"
    good_for: ClassVar[str] = "small defects, and where they are; minutes to fit on a CPU"
    has_map: ClassVar[bool] = True
    trains_on_images: ClassVar[bool] = True

    epochs: int = setting(12, "epochs of `steps` steps each", low=1)
    steps: int = setting(250, "training steps in an epoch, however many images there are", low=1)
    batch_size: int = setting(32, "normal images in each training step", low=2)
    learning_rate: float = setting(2e-3, "of the optimizer at its highest, one cycle", low=0.0)
    anomalies: str = setting(",".join(_KINDS), "kinds of created anomalies, with commas between")
    edges: str = setting("hard,soft", "how created anomalies meet the image: hard, soft, poisson, with commas between")
    untouched: float = setting(0.25, "share of the training images that get no anomaly", low=0.0, high=0.9)
    vary: str = setting("none", "how normal images vary, with commas between: rotate, shift, flip, light; or none")
    loss: str = setting("bce", "of each place: bce, or mse as in ADACL", choices=("mse", "bce"))
    normal_high: float = setting(0.0, "X_L: labels of normal places are drawn from 0 to this", low=0.0, high=1.0)
    anomaly_low: float = setting(1.0, "X_H: labels of changed places are drawn from this to 1", low=0.0, high=1.0)
    width: int = setting(16, "filters of the network's first level", low=1)
    describe: float = setting(0.3, "weight of saying also what happened to a place; training only", low=0.0)
    dropout: float = setting(0.2, "share of the filters that a training step goes without", low=0.0, high=0.9)
    map_stride: int = setting(4, "pixels from one place to the next: 4 or 8", low=4, high=8)
    top: float = setting(0.01, "share of the places, the highest, whose mean is the score", low=0.0, high=1.0)
    memory: int = setting(1000, "normal places that are remembered; 0 for the network alone", low=0)
    components: int = setting(64, "principal components of the features in which places are compared", low=1)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.located import FeatureRegressor, LocatedRegressor, LocatedScorer
        from ..networks.places import PlaceMemory

        regressor: LocatedRegressor | FeatureRegressor
        if self.features == "none":
            regressor = LocatedRegressor(shape, self.width, self.map_stride, self.dropout)
        else:
            regressor = FeatureRegressor(shape[0], self.width)
        memory = PlaceMemory(sum(regressor.widths), self.components, neighbours=1) if self.memory else None
        return LocatedScorer(regressor, shape[1:], self.top, memory)

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        from torch.optim.lr_scheduler import OneCycleLR

        from ..anomalies.local import LocalAnomalies
        from ..training.stage import Computation, Player, Schedule, Stage

        def one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
            return OneCycleLR(optimizer, max_lr=self.learning_rate, total_steps=steps, pct_start=0.1)

        creator = LocalAnomalies(_list(self.anomalies), _list(self.edges))

        def terms(batch: Batch) -> dict[str, Tensor]:
            known = None if batch.anomalies is None or batch.masks is None else (batch.anomalies, batch.masks)
            return {"place loss": self._place_loss(scorer, batch.images, batch.generator, creator, known)}

        def monitor(images: Tensor, generator: Generator) -> float:
            import torch

            repeated = images[torch.arange(_VALIDATION_IMAGES) % len(images)]
            losses = [
                self._place_loss(scorer, part, generator, creator) for part in torch.split(repeated, self.batch_size)
            ]
            return float(torch.stack(losses).mean())

        player = Player(
            "regressor", scorer.regressor.parameters(), terms, self.learning_rate, Schedule(one_cycle, "step")
        )
        stages: list[Stage | Computation] = [
            Stage("fit", [player], self.epochs, monitor, steps=self.steps),
            Computation("scale", lambda seen: self._settle(scorer, seen)),
        ]
        if creator.needs_bank:
            stages.insert(0, Computation("blend", lambda seen: self._blend(creator, seen)))
        if scorer.memory is not None:
            stages.insert(-1, Computation("remember", lambda seen: self._remember(scorer, seen)))
        return stages

    def check(self) -> None:
        super().check()
        for name, known in (("anomalies", _KINDS), ("edges", _EDGES), ("vary", ("none", *_WAYS))):
            unknown = [each for each in _list(getattr(self, name)) if each not in known]
            if unknown:
                raise UsageError(f"{name} knows no {unknown[0]!r}; there are: {', '.join(known)}")
        if "poisson" in _list(self.edges):
            from .. import versions

            versions.require("train", "edges=poisson", "cv2")
        if self.normal_high >= self.anomaly_low:
            raise UsageError(
                f"normal_high ({self.normal_high}) must be below anomaly_low ({self.anomaly_low}), or labels overlap"
            )
        if self.map_stride not in (4, 8):
            raise UsageError(f"map_stride must be 4 or 8, but is {self.map_stride}")

    def learns_from_anomalies(self) -> bool:
        return True

    def _ways(self) -> list[str]:
        return [way for way in _list(self.vary) if way != "none"]

    def _input(self, images: Tensor) -> Tensor:
        """What the regressor sees of images: themselves, or the features of a frozen backbone."""
        import torch

        seen = images if self.features_ is None else self.features_.to(images.device)(images)
        return seen.contiguous(memory_format=torch.channels_last)

    def _place_loss(
        self,
        scorer: Any,
        images: Tensor,
        generator: Generator,
        creator: LocalAnomalies,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        import torch
        from torch.nn import functional

        from ..anomalies.local import described
        from ..anomalies.variation import varied
        from ..objectives.labels import draw_place_labels

        with torch.autocast(images.device.type, enabled=False):  # half precision misplaces what is moved
            images = varied(images, generator, self._ways())
            created, changed = creator.create(images, generator)
            touched = (torch.rand(len(images), generator=generator) >= self.untouched).to(images)[:, None, None, None]
            before, images, changed = images, images + touched * (created - images), changed * touched
            if known is not None:
                images, changed = self._with_defects(images, changed, known, generator)
        _, answers, said = scorer.regressor.describe(self._input(images))
        answers = answers.float()
        marked = (changed >= 0).flatten(1).all(dim=1)
        share = functional.adaptive_avg_pool2d(changed, answers.shape[1:])[:, 0]
        labels = draw_place_labels(share.clamp(min=0), generator, self.normal_high, self.anomaly_low)
        loss = self._error(answers[marked], labels[marked])
        if self.describe:
            what = described(before, images[: len(before)], answers.shape[1:])
            loss = loss + self.describe * functional.smooth_l1_loss(said[: len(before)].float(), what)
        if not marked.all():  # a defect is somewhere: its highest places are
            unmarked = answers[~marked].flatten(1)
            highest = unmarked.topk(max(1, round(self.top * unmarked.shape[1])), dim=1).values
            loss = loss + _UNMARKED * self._error(highest, torch.full_like(highest, self.anomaly_low))
        return loss

    def _error(self, answers: Tensor, labels: Tensor) -> Tensor:
        from torch.nn import functional

        if self.loss == "bce":
            return functional.binary_cross_entropy_with_logits(answers, labels)
        return functional.mse_loss(answers, labels)

    def _with_defects(
        self, images: Tensor, changed: Tensor, known: tuple[Tensor, Tensor], generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Labelled defects pasted into a part of the images, and as many of them as they are, behind the others."""
        import torch

        from ..anomalies.local import paste_defects
        from ..anomalies.variation import varied

        count = max(1, round(_KNOWN * len(images)))
        chosen = torch.arange(count) % len(known[0])
        defects, masks = known[0][chosen], known[1][chosen].to(images)
        ways = self._ways()
        moved = varied(torch.cat([defects, masks], dim=1), generator, [way for way in ways if way != "light"])
        defects, masks = moved[:, :-1], moved[:, -1:].round()
        defects = varied(defects, generator, [way for way in ways if way == "light"])
        images, changed = images.clone(), changed.clone()
        with_mask = (masks >= 0).flatten(1).all(dim=1).nonzero()[:, 0]
        if len(with_mask):
            into = torch.arange(len(with_mask), device=images.device)
            pasted, marks = paste_defects(images[into], defects[with_mask], masks[with_mask], generator)
            images[into], changed[into] = pasted, torch.maximum(changed[into], marks)
        return torch.cat([images, defects]), torch.cat([changed, masks])

    def _blend(self, creator: LocalAnomalies, seen: Pass) -> dict[str, float]:
        import torch

        from ..anomalies.variation import varied

        images = seen.train[torch.randperm(len(seen.train), generator=seen.generator)[:256]]
        creator.prepare(varied(images, seen.generator, self._ways()), seen.generator)
        return {}

    def _remember(self, scorer: Any, seen: Pass) -> dict[str, float]:
        import torch

        from ..anomalies.variation import varied
        from ..networks.places import some_places

        views = 3 if self._ways() else 1
        chosen = torch.randperm(len(seen.train), generator=seen.generator)[:_CANDIDATES]
        each = -(-_CANDIDATES // (len(chosen) * views))
        places = []
        for part in torch.split(chosen.repeat(views), 64):
            images = varied(seen.train[part], seen.generator, self._ways())
            features = scorer.memory.features(scorer.regressor(self._input(images))[0])
            places.append(some_places(features, each, seen.generator))
        scorer.memory.remember(torch.cat(places), self.memory, seen.generator)
        return {"places": float(len(scorer.memory.kept))}

    def _settle(self, scorer: Any, seen: Pass) -> dict[str, float]:
        import torch

        parts = [scorer.parts(self._input(images)) for images in seen.stop.batches(64)]
        scorer.settle({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return {}


def _list(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]
