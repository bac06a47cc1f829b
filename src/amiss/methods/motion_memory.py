"""A memory of normal motion: what moves, how fast, whither, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..errors import DataError, UsageError
from ..lazy import torch
from ..settings import setting

#: Clips that are looked at, and locations among which the memory bank chooses.
_CLIPS, _CANDIDATES = 300, 20_000
#: Clips that are looked at together.
_TOGETHER = 16


@dataclass(kw_only=True, eq=False)
class MotionMemory(Detector["networks.clip_scorers.MotionMemoryScorer"]):
    """How far the motion at each location lies from the most similar motion in normal video.

    Where something moves, the optical flow of the clip becomes a histogram of directions weighted by speed, and two
    figures of size: how much of a window, and of a larger one, moves. A memory bank keeps a coreset of those of normal
    video. Nothing is trained. Map: distance of each location to its nearest neighbours, 0 where nothing moves. Score:
    mean of the highest distances.

    >>> MotionMemory(frames=3).clip_length
    3
    """

    title: ClassVar[str] = "A memory of normal motion"
    paper: ClassVar[str] = "after AI-VAD, Reiss and Hoshen 2022 (velocity features); flow after Lucas and Kanade 1981"
    family: ClassVar[str] = "compares with normal video"
    needs: ClassVar[str] = "normal video of a still camera"
    good_for: ClassVar[str] = "what moves faster, another way, or is larger than in normal video; seconds to fit"
    has_map: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    frames: int = setting(4, "frames of a clip", low=2, high=32)
    still: float = setting(
        0.005, "a location moves where its brightness changes by more than this from frame to frame", low=0.0, high=1.0
    )
    directions: int = setting(8, "directions of motion that are told apart", low=2, high=64)
    grid: int = setting(4, "pixels from one location to the next", low=1)
    window: int = setting(5, "side in locations of the window in which motion is summed up, odd", low=1)
    kept: int = setting(1000, "locations of normal video that the memory bank keeps", low=1)
    neighbours: int = setting(1, "nearest kept locations whose distances are averaged", low=1)
    top: float = setting(0.01, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)

    @property
    def clip_length(self) -> int:
        return self.frames

    def check(self) -> None:
        super().check()
        if self.window % 2 == 0:
            raise UsageError(f"window must be odd, but is {self.window}; set {self.window + 1}")

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.clip_scorers.MotionMemoryScorer:
        features = networks.optical_flow.MotionFeatures(self.directions, self.still, self.grid, self.window)
        channels = sum(features.groups)
        memory = networks.memory_bank.MemoryBank(channels, channels, self.neighbours)
        return networks.clip_scorers.MotionMemoryScorer(features, memory, shape[1:], self.top)

    def stages(self, scorer: networks.clip_scorers.MotionMemoryScorer) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[:_CLIPS]
            found = []
            for part in torch.split(chosen, _TOGETHER):
                features, moving = scorer.features(context.train[part])
                found.append(features.permute(0, 2, 3, 1)[moving > 0])
            candidates = torch.cat(found)
            if not len(candidates):
                raise DataError("nothing moves in the normal video, so no motion can be learnt; set a smaller still")
            drawn = torch.randperm(len(candidates), generator=context.generator)[:_CANDIDATES]
            groups: Any = scorer.features.groups
            scorer.memory.fit(candidates[drawn.to(candidates.device)], self.kept, context.generator, groups=groups)
            return {"kept": float(len(scorer.memory.get_buffer("kept")))}

        return [training.stage.Computation("fit", compute)]
