"""The largest change between two frames of a video: a trivial baseline that learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..settings import setting


@dataclass(kw_only=True, eq=False)
class FrameDifference(Detector["networks.clip_scorers.FrameChange"]):
    """How much the picture changes where it changes most; normal video serves for nothing but calibration.

    Map: absolute difference between a frame and the one `gap` frames before, averaged over channels. Score: its largest
    mean over a square window.

    >>> FrameDifference(gap=2).clip_length
    3
    """

    title: ClassVar[str] = "Difference between frames"
    paper: ClassVar[str] = "a trivial baseline"
    family: ClassVar[str] = "looks for motion"
    needs: ClassVar[str] = "normal video"
    good_for: ClassVar[str] = "what moves faster, or is larger, than anything in normal video of a still camera"
    has_map: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    gap: int = setting(1, "frames between the two that are compared", low=1, high=64)
    window: float = setting(
        0.1, "side of the window of which the mean counts, as a share of the shorter side", low=0.0, high=1.0
    )

    @property
    def clip_length(self) -> int:
        return self.gap + 1

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.clip_scorers.FrameChange:
        return networks.clip_scorers.FrameChange(self.window)

    def stages(self, scorer: networks.clip_scorers.FrameChange) -> Sequence[training.stage.Computation]:
        return [training.stage.Computation("fit", lambda context: {})]
