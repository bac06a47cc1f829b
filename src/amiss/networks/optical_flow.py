"""Optical flow, and what it tells of each location of a clip: where things move, how fast, and how large they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Fewest pixels along a side of the coarsest level.
_COARSEST = 8
#: Added to the mean squared gradients, so that flat windows do not move; most pixels that one step corrects.
_FLAT, _FURTHEST = 1e-4, 1.0
#: Pixels between two for which flow is sought.
_EVERY = 2


class OpticalFlow(nn.Module):
    """How far everything has moved from one frame to the next, after Lucas and Kanade (1981).

    Within a window all moves alike: that displacement is sought which makes the earlier frame most like the later one,
    by steps of Gauss and Newton, from the coarsest level of a pyramid to the finest. On each level it is sought around
    every second pixel of a row and a column, and interpolated in between. Nothing is learnt.

    Args:
        levels: of the pyramid, each half as large as the one before; fewer where frames are small.
        steps: on each level.
        window: side in pixels, odd.

    Shape: the earlier and the later frames, each (n, 1, h, w) float32 in [0, 1], to pixels (n, 2, h, w) to the right
    and down.

    >>> waves = (torch.arange(33) / 2).sin() / 2 + 0.5
    >>> frame = torch.outer(waves, waves)[None, None]
    >>> flow = OpticalFlow(levels=2, steps=5, window=7)(frame[..., 1:], frame[..., :-1])
    >>> flow.shape, round(float(flow[0, 0, 16, 16]), 1)
    (torch.Size([1, 2, 33, 32]), 1.0)
    """

    def __init__(self, levels: int = 3, steps: int = 2, window: int = 7) -> None:
        super().__init__()
        self._levels, self._steps, self._window = levels, steps, window

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        smallest = min(later.shape[2:])
        levels = max(1, min(self._levels, 1 + int(math.log2(max(1, smallest / _COARSEST)))))
        pyramid = [(earlier, later)]
        for _ in range(levels - 1):
            pyramid.append((functional.avg_pool2d(pyramid[-1][0], 2), functional.avg_pool2d(pyramid[-1][1], 2)))
        flow: Tensor | None = None
        for before, after in reversed(pyramid):
            flow = self._refined(flow, before, after)
        assert flow is not None
        return _enlarged(flow, later)

    def _refined(self, flow: Tensor | None, before: Tensor, after: Tensor) -> Tensor:
        """The flow on one level, at every second pixel, from that on the coarser level, where there is one."""
        across, down = _gradients(after)
        squares = window_mean(torch.cat([across * across, down * down, across * down], dim=1), self._window, _EVERY)
        xx, yy, xy = squares[:, :1] + _FLAT, squares[:, 1:2] + _FLAT, squares[:, 2:]
        determinant = xx * yy - xy * xy
        flow = torch.cat([xy, xy], dim=1) * 0 if flow is None else 2 * _enlarged(flow, xx)
        for _ in range(self._steps):
            error = _moved(before, _enlarged(flow, before)) - after
            both = window_mean(torch.cat([across * error, down * error], dim=1), self._window, _EVERY)
            x, y = both[:, :1], both[:, 1:]
            step = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / determinant
            flow = flow + step.clamp(-_FURTHEST, _FURTHEST)
        return flow


def _enlarged(flow: Tensor, like: Tensor) -> Tensor:
    """The flow (n, 2, h, w), bilinearly at the height and width of `like` (n, d, h', w')."""
    return functional.interpolate(flow, size=like.shape[2:], mode="bilinear", align_corners=False)


def window_mean(values: Tensor, side: int, every: int = 1) -> Tensor:
    """(n, d, h, w), averaged over square windows of an odd side around every n-th pixel of a row and a column; at
    the border, over what there is of them."""
    rows = functional.avg_pool2d(values, (1, side), (1, every), (0, side // 2), count_include_pad=False)
    return functional.avg_pool2d(rows, (side, 1), (every, 1), (side // 2, 0), count_include_pad=False)


def _gradients(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences to the right and down, each (n, 1, h, w)."""
    padded = functional.pad(frame, [1, 1, 1, 1], mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return across, (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2


def _moved(frame: Tensor, flow: Tensor) -> Tensor:
    """The frame (n, 1, h, w), everything in it moved by the flow (n, 2, h, w)."""
    height, width = frame.shape[2:]
    rows = torch.arange(height, device=frame.device, dtype=frame.dtype)[:, None]
    columns = torch.arange(width, device=frame.device, dtype=frame.dtype)
    x = (columns - flow[:, 0]) * (2 / max(1, width - 1)) - 1
    y = (rows - flow[:, 1]) * (2 / max(1, height - 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return functional.grid_sample(frame, grid, mode="bilinear", padding_mode="border", align_corners=True)


class MotionFeatures(nn.Module):
    """What moves around every location of a clip: how fast in each direction, and how much of a window.

    The velocity of a location is its mean over those pairs of neighbouring frames in which it changes, so a clip that
    is filled up with copies of its first frame has the velocity of the frames that differ. Its part along each of
    some directions, where positive, is averaged over a window: a histogram of directions weighted by speed.

    Args:
        directions: evenly spread over the circle.
        still: a location moves where the mean change of its pixels is above this, in units of [0, 1].
        grid: pixels from one location to the next.
        window: side in locations, odd; how much moves is told of this window and of one of twice the side.

    Shape: clips (n, t, c, h, w), t at least 2, to features (n, directions + 2, h', w') and, where something in the
    3x3 locations around moves, 1, else 0 (n, h', w').
    """

    def __init__(self, directions: int, still: float, grid: int, window: int) -> None:
        super().__init__()
        self.flow = OpticalFlow()
        #: Channels by what they tell: speeds, and how much moves; those of one group share a unit.
        self.groups = (directions, 1, 1)
        self._still, self._grid, self._window = still, grid, window
        angles = torch.arange(directions) * (2 * math.pi / directions)
        directed = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None, None]
        self.register_buffer("directed", directed, persistent=False)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(clip.device.type, enabled=False):  # half precision misplaces what has moved
            velocity, moving = self._velocity(clip.float().mean(dim=2))
            along = functional.conv2d(velocity, self.get_buffer("directed")).relu()
            shares = [window_mean(moving, side) for side in (self._window, 2 * self._window + 1)]
            features = torch.cat([window_mean(along, self._window), *shares], dim=1)
            return features, functional.max_pool2d(moving, 3, 1, 1)[:, 0]

    def _velocity(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Gray frames (n, t, h, w) to pixels a frame (n, 2, h', w'), and (n, 1, h', w') 1 where something moves."""
        pairs = frames.shape[1] - 1
        earlier, later = frames[:, :-1].flatten(0, 1)[:, None], frames[:, 1:].flatten(0, 1)[:, None]
        change = self._at_grid((later - earlier).abs())
        places = change.shape[2:]
        moving = (change > self._still).to(frames).view(-1, pairs, 1, *places)
        flow = self._at_grid(self.flow(earlier, later)).view(-1, pairs, 2, *places)
        velocity = (flow * moving).sum(dim=1) / moving.sum(dim=1).clamp(min=1)
        return velocity, moving.amax(dim=1)

    def _at_grid(self, values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, self._grid, ceil_mode=True, count_include_pad=False)
