"""Scorers that look at how much a clip changes from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .places import enlarged, highest


def largest_mean(maps: Tensor, share: float) -> Tensor:
    """(n, h, w) to (n,): the largest mean over a square window, of a side that is `share` of the shorter one."""
    side = window_of(maps.shape[1], maps.shape[2], share)
    return functional.avg_pool2d(maps[:, None], side, max(1, side // 4)).amax(dim=(1, 2, 3))


def window_of(height: int, width: int, share: float) -> int:
    """Pixels of the side of such a window, at least 1."""
    return max(1, round(share * min(height, width)))


class FrameChange(nn.Module):
    """Scorer: the largest mean change between the last frame of a clip and its first; `map` (n, h, w) the change.

    Args:
        window: side of the window over which the change is averaged, as a share of the frame's shorter side.
    """

    def __init__(self, window: float) -> None:
        super().__init__()
        self._window = window

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        change = (clip[:, -1] - clip[:, 0]).abs().mean(dim=1)
        return {"score": largest_mean(change, self._window), "map": change}


class ClipScorer(nn.Module):
    """Scorer: a regressor's answer for every place, from the frames of a clip as channels.

    `score` is the mean of the highest places; `map` (n, h, w) all of them, enlarged to the frame's size.

    Args:
        regressor: from (n, t * c, h, w) to levels and answers (n, h', w').
        size: (h, w) of the frames in pixels.
        top: share of the places that are averaged, at least one place.
    """

    def __init__(self, regressor: nn.Module, size: tuple[int, int], top: float) -> None:
        super().__init__()
        self.regressor, self._size, self._top = regressor, size, top

    def answers(self, clip: Tensor) -> Tensor:
        """(n, h', w') of clips (n, t, c, h, w)."""
        stacked = clip.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        answers: Tensor = self.regressor(stacked)[1]
        return answers

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        answers = self.answers(clip).float()
        return {"score": highest(answers, self._top), "map": enlarged(answers, self._size)}
