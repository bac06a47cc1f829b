"""ADACL for every location in a clip: created anomalies of motion (after Khazaie's thesis, chapter 4 and 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import anomalies as synthetic
from .. import networks, training
from ..anomalies.kinds import MOTION
from ..detectors.detector import Detector
from ..errors import UsageError
from ..lazy import torch
from ..settings import Words, setting

#: Clips with created anomalies whose loss chooses the epoch.
_VALIDATION_CLIPS = 128


@dataclass(kw_only=True, eq=False)
class MotionADACL(Detector["networks.clip_scorers.ClipScorer"]):
    """A small network tells, for every location in a short clip, whether something there moves wrongly.

    Created anomalies are local: the same location played too fast, and moving things that are too large. The network
    sees the last frames of the video as channels, and maps the last one. A frame's score is the mean of the map's
    highest values.

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
    anomalies: tuple[str, ...] = setting(
        MOTION, "kinds of created anomalies, with commas between: speed, size", kind=Words(MOTION, least=1)
    )
    untouched: float = setting(0.25, "share of the training clips that get no anomaly", low=0.0, high=0.9)
    width: int = setting(16, "filters of the network's first level", low=1)
    dropout: float = setting(0.1, "share of the filters that a training step goes without", low=0.0, high=0.9)
    map_stride: int = setting(4, "pixels from one location of the map to the next: 4 or 8", low=4, high=8)
    top: float = setting(0.01, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"steps": 25}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "steps": 2}

    @property
    def clip_length(self) -> int:
        return self.frames

    def training_length(self) -> int:
        return (self.frames - 1) * self.fastest + 1

    def check(self) -> None:
        super().check()
        if self.map_stride not in (4, 8):
            raise UsageError(f"map_stride must be 4 or 8, but is {self.map_stride}")

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.clip_scorers.ClipScorer:
        channels, height, width = shape
        stacked = (self.frames * channels, height, width)
        regressor = networks.pyramid.PyramidRegressor(stacked, self.width, self.map_stride, self.dropout)
        return networks.clip_scorers.ClipScorer(regressor, (height, width), self.top)

    def stages(self, scorer: networks.clip_scorers.ClipScorer) -> Sequence[training.stage.Stage]:
        def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
            return torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=self.learning_rate, total_steps=steps, pct_start=0.1
            )

        creator = synthetic.motion.MotionAnomalies(list(self.anomalies), self.frames, self.fastest)

        def loss(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            with torch.autocast(clips.device.type, enabled=False):  # half precision misplaces what is moved
                if torch.rand((), generator=generator) < 0.5:
                    clips = clips.flip(-1)
                created, changed = creator.create(clips, generator)
                touched = (torch.rand(len(clips), generator=generator) >= self.untouched).to(clips)
                normal = creator.normal(clips)
                clips = normal + touched[:, None, None, None, None] * (created - normal)
                changed = changed * touched[:, None, None, None]
            outputs = scorer.answers(clips).float()
            labels = torch.nn.functional.adaptive_avg_pool2d(changed, (outputs.shape[1], outputs.shape[2]))[:, 0]
            return torch.nn.functional.binary_cross_entropy_with_logits(outputs, labels)

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return {"map loss": loss(batch.images, batch.generator)}

        def monitor(held: training.stage.Held) -> float:
            repeated = torch.arange(_VALIDATION_CLIPS) % len(held.images)
            losses = [loss(held.images[part], held.generator) for part in torch.split(repeated, self.batch_size)]
            return float(torch.stack(losses).mean())

        schedule = training.stage.Schedule(one_cycle, "step")
        weights = scorer.regressor.parameters()
        player = training.stage.Player("regressor", weights, terms, self.learning_rate, schedule)
        return [training.stage.Stage("fit", [player], self.epochs, monitor, steps=self.steps)]
