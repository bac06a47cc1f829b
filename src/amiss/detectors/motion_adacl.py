"""ADACL for the places of a clip: created anomalies of motion (after Khazaie's thesis, chapter 4 and 5.4)."""

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

    from ..training.stage import Batch, Computation, Stage

#: By their names in `amiss.anomalies.motion`, which needs torch.
_KINDS = ("speed", "size")
#: Clips with created anomalies whose loss chooses the epoch.
_VALIDATION_CLIPS = 128


@dataclass(kw_only=True, eq=False)
class MotionADACL(Detector):
    """A small network tells, for every place of a short clip, whether something there moves wrongly.

    Created anomalies are local: the same place played too fast, and moving things that are too large. The network sees
    the last frames of the video as channels, and answers for every place of the last one. A frame's score is the mean
    of its highest places.

    >>> MotionADACL(frames=6).clip_length
    6
    """

    title: ClassVar[str] = "ADACL for motion, at every place"
    paper: ClassVar[str] = "Khazaie 2022, thesis, 5.4 (new augmentations); skipped frames as in Astrid et al. 2021"
    family: ClassVar[str] = "tells created anomalies apart"
    needs: ClassVar[str] = "normal video of a still camera"
    good_for: ClassVar[str] = "what moves too fast or is too large, and where; minutes to fit on a CPU"
    has_map: ClassVar[bool] = True

    epochs: int = setting(4, "epochs of `steps` steps each", low=1)
    steps: int = setting(250, "training steps in an epoch, however many frames there are", low=1)
    batch_size: int = setting(16, "normal clips in each training step", low=2)
    learning_rate: float = setting(2e-3, "of the optimizer at its highest, one cycle", low=0.0)
    frames: int = setting(4, "frames of a clip", low=2, high=32)
    fastest: int = setting(4, "how many times too fast things move at most", low=2, high=16)
    anomalies: str = setting(",".join(_KINDS), "kinds of created anomalies, with commas between: speed, size")
    untouched: float = setting(0.25, "share of the training clips that get no anomaly", low=0.0, high=0.9)
    width: int = setting(16, "filters of the network's first level", low=1)
    dropout: float = setting(0.1, "share of the filters that a training step goes without", low=0.0, high=0.9)
    map_stride: int = setting(4, "pixels from one place to the next: 4 or 8", low=4, high=8)
    top: float = setting(0.01, "share of the places, the highest, whose mean is the score", low=0.0, high=1.0)

    @property
    def clip_length(self) -> int:
        return self.frames

    def training_length(self) -> int:
        return (self.frames - 1) * self.fastest + 1

    def check(self) -> None:
        super().check()
        unknown = [each for each in self._kinds() if each not in _KINDS]
        if unknown:
            raise UsageError(f"anomalies knows no {unknown[0]!r}; there are: {', '.join(_KINDS)}")
        if self.map_stride not in (4, 8):
            raise UsageError(f"map_stride must be 4 or 8, but is {self.map_stride}")

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.located import LocatedRegressor
        from ..networks.motion import ClipScorer

        channels, height, width = shape
        stacked = (self.frames * channels, height, width)
        regressor = LocatedRegressor(stacked, self.width, self.map_stride, self.dropout)
        return ClipScorer(regressor, (height, width), self.top)

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        import torch
        from torch.optim.lr_scheduler import OneCycleLR

        from ..anomalies.motion import MotionAnomalies
        from ..training.stage import Player, Schedule, Stage

        def one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
            return OneCycleLR(optimizer, max_lr=self.learning_rate, total_steps=steps, pct_start=0.1)

        creator = MotionAnomalies(self._kinds(), self.frames, self.fastest)

        def loss(clips: Tensor, generator: Generator) -> Tensor:
            from torch.nn import functional

            with torch.autocast(clips.device.type, enabled=False):  # half precision misplaces what is moved
                if torch.rand((), generator=generator) < 0.5:
                    clips = clips.flip(-1)
                created, changed = creator.create(clips, generator)
                touched = (torch.rand(len(clips), generator=generator) >= self.untouched).to(clips)
                normal = creator.normal(clips)
                clips = normal + touched[:, None, None, None, None] * (created - normal)
                changed = changed * touched[:, None, None, None]
            answers = scorer.answers(clips).float()
            labels = functional.adaptive_avg_pool2d(changed, answers.shape[1:])[:, 0]
            return functional.binary_cross_entropy_with_logits(answers, labels)

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"place loss": loss(batch.images, batch.generator)}

        def monitor(clips: Tensor, generator: Generator) -> float:
            repeated = torch.arange(_VALIDATION_CLIPS) % len(clips)
            losses = [loss(clips[part], generator) for part in torch.split(repeated, self.batch_size)]
            return float(torch.stack(losses).mean())

        player = Player(
            "regressor", scorer.regressor.parameters(), terms, self.learning_rate, Schedule(one_cycle, "step")
        )
        return [Stage("fit", [player], self.epochs, monitor, steps=self.steps)]

    def _kinds(self) -> list[str]:
        return [each.strip() for each in self.anomalies.split(",")]
