"""Overlapping square patches of larger images (the protocol of G2D 4.3 and ALPS for UCSD frames: 30x30, stride 25)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError

#: Patches that a detector learns from at most; drawn at random where there are more.
MOST_PATCHES = 100_000

#: Frames of which the background is the median, and by how much of the range foreground differs from it.
_BACKGROUND_FRAMES, _DIFFERS = 25, 0.1


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


def foreground_patches(
    images: NDArray[Any], firsts: NDArray[np.int64], size: int, stride: int, share: float
) -> NDArray[np.bool_]:
    """Patches of video frames in which something stands or moves before the background.

    The background is the median of a run of frames. A pixel is foreground where it differs from it by more than a tenth
    of the range.

    Args:
        images: (n, c, h, w) frames.
        firsts: (n,) the run of each, see `amiss.data.clips.runs`.
        share: of a patch's pixels that must be foreground.

    Returns: (n, r, s) for every row and column of patches.
    """
    rows, columns = (patch_starts(length, size, stride) for length in images.shape[2:])
    found = np.zeros((len(images), len(rows), len(columns)), dtype=np.bool_)
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for first in np.unique(firsts):
        run = np.flatnonzero(firsts == first)
        few = run[np.unique(np.linspace(0, len(run) - 1, _BACKGROUND_FRAMES).astype(int))]
        background = np.median(images[few], axis=0)
        for index in run:
            differs = np.abs(images[index] - background).max(axis=0) > _DIFFERS * scale
            for r, row in enumerate(rows):
                for s, column in enumerate(columns):
                    found[index, r, s] = differs[row : row + size, column : column + size].mean() >= share
    return found
