"""Overlapping square patches of larger images (the protocol of G2D 4.3 and ALPS for UCSD frames: 30x30, stride 25)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .preprocessing import to_float

#: Patches that a detector learns from at most; drawn at random where there are more.
MOST_PATCHES = 100_000

#: Frames of which the background is the median: of all, and of one run.
_BACKGROUND_FRAMES, _RUN_FRAMES = 200, 25
#: A run shows another view where more of its pixels than this differ by more than that from the background of all.
_MOST_CHANGED, _ANOTHER = 0.3, 0.1


def patch_starts(length: int, size: int, stride: int) -> list[int]:
    """Where patches begin along a side, evenly spread, at most `stride` apart, from edge to edge.

    Raises:
        UsageError: the side is shorter than a patch.

    >>> patch_starts(100, 30, 25)
    [0, 23, 47, 70]
    """
    if length < size:
        raise UsageError(
            f"patches of {size} pixels do not fit into a side of {length}; set a smaller patch or a larger size"
        )
    count = math.ceil((length - size) / stride) + 1
    return [round(position) for position in np.linspace(0, length - size, count)]


def cut_patches(
    images: NDArray[Any], size: int, stride: int, seed: int, foreground: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """All patches (m, c, size, size) of images (n, c, h, w), or `MOST_PATCHES` of them drawn at random.

    Args:
        foreground: (n, r, s) which patches to take: of each image, of each of its rows, of each of its columns.
    """
    rows, columns = (patch_starts(length, size, stride) for length in images.shape[2:])
    corners = [
        (index, row, column)
        for index in range(len(images))
        for r, row in enumerate(rows)
        for s, column in enumerate(columns)
        if foreground is None or foreground[index, r, s]
    ]
    if len(corners) > MOST_PATCHES:
        chosen = np.random.default_rng(seed).choice(len(corners), MOST_PATCHES, replace=False)
        corners = [corners[number] for number in np.sort(chosen)]
    if not corners:
        raise DataError(
            f"no patch of {size} pixels has that much foreground; set a smaller foreground, or 0 for all patches"
        )
    return np.stack([images[index, :, row : row + size, column : column + size] for index, row, column in corners])


def still_background(frames: NDArray[Any], firsts: NDArray[np.int64]) -> NDArray[np.float32]:
    """What a still camera sees where nothing happens: the median of frames, in each pixel.

    Args:
        frames: (n, c, h, w) uint8, or float32 in [0, 1].
        firsts: (n,) the run of each, see `amiss.data.clips.runs`.

    Returns: (c, h, w) in [0, 1].

    Raises:
        UsageError: runs whose own medians are far from it; the camera moves, or there are several.
    """
    background = np.median(to_float(frames[_spread(len(frames), _BACKGROUND_FRAMES)]), axis=0)
    for first in np.unique(firsts):
        run = np.flatnonzero(firsts == first)
        own = np.median(to_float(frames[run[_spread(len(run), _RUN_FRAMES)]]), axis=0)
        changed = float((np.abs(own - background).max(axis=0) > _ANOTHER).mean())
        if changed > _MOST_CHANGED:
            raise UsageError(
                f"foreground needs one camera that stands still, but in one clip the background differs in "
                f"{changed:.0%} of the pixels from that of all; fit one detector for each view, or set foreground=0"
            )
    return background.astype(np.float32)


def _spread(length: int, count: int) -> NDArray[np.int64]:
    """At most so many indices below `length`, evenly spread."""
    return np.unique(np.linspace(0, length - 1, count).astype(np.int64))
