"""Scorers of clips: by how much they change from frame to frame, by a regressor, and by a memory of motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .memory_bank import MemoryBank, top_mean, upsampled
from .optical_flow import MotionFeatures


def largest_mean(maps: Tensor, share: float) -> Tensor:
    """Maps (n, h, w) to (n,): the largest mean over a square window, of a side that is `share` of the shorter one."""
    side = window_of(maps.shape[1], maps.shape[2], share)
    return functional.avg_pool2d(maps[:, None], side, max(1, side // 4)).amax(dim=(1, 2, 3))


def window_of(height: int, width: int, share: float) -> int:
    """Pixels of the side of such a window, at least 1."""
    return max(1, round(share * min(height, width)))


class FrameChange(nn.Module):
    """Scorer: the largest mean change between the first and the last frame of a clip; `map` the change.

    Args:
        window: side of the window over which the change is averaged, as a share of the frame's shorter side.

    Shape: (n, t, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, window: float) -> None:
        super().__init__()
        self._window = window

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        change = (clip[:, -1] - clip[:, 0]).abs().mean(dim=1)
        return {"score": largest_mean(change, self._window), "map": change}


class ClipScorer(nn.Module):
    """Scorer: a regressor's answer at every location, from the frames of a clip as channels.

    `score` is the mean of the highest answers; `map` all of them, upsampled to the frame's size.

    Args:
        regressor: from (n, t * c, h, w) to levels and answers (n, h', w').
        size: (h, w) of the frames in pixels.
        top: share of the locations that are averaged, at least one location.

    Shape: (n, t, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, regressor: nn.Module, size: tuple[int, int], top: float) -> None:
        super().__init__()
        self.regressor, self._size, self._top = regressor, size, top

    def answers(self, clip: Tensor) -> Tensor:
        """Answers (n, h', w') for clips (n, t, c, h, w)."""
        stacked = clip.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        answers: Tensor = self.regressor(stacked)[1]
        return answers

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        answers = self.answers(clip).float()
        return {"score": top_mean(answers, self._top), "map": upsampled(answers, self._size)}


class MotionMemoryScorer(nn.Module):
    """Scorer: the distance of what moves, at every location, to the most similar motion of normal clips.

    Where nothing moves the distance is 0, so a frame in which nothing moves has the lowest score, 0. `score` is the
    mean of the highest distances; `map` all of them, upsampled to the frame's size.

    Args:
        features: of the clips.
        memory: of the features of locations where something moves.
        size: (h, w) of the frames in pixels.
        top: share of the locations that are averaged, at least one location.

    Shape: (n, t, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, features: MotionFeatures, memory: MemoryBank, size: tuple[int, int], top: float) -> None:
        super().__init__()
        self.features, self.memory = features, memory
        self._size, self._top = size, top

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        features, moving = self.features(clip)
        distances = self.memory(features) * moving
        return {"score": top_mean(distances, self._top), "map": upsampled(distances, self._size)}
