"""Overlapping square patches of larger images (the protocol of G2D 4.3 and ALPS for UCSD frames: 30x30, stride 25)."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

#: Patches that a detector learns from at most; drawn at random where there are more.
MOST_PATCHES = 100_000


def parse_patch(text: str) -> tuple[int, int]:
    """`SIZE` or `SIZE:STRIDE` in pixels, to (size, stride); without a stride, patches overlap by half.

    Raises:
        UsageError: anything else.

    >>> parse_patch("30:25"), parse_patch("32")
    ((30, 25), (32, 16))
    """
    match = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text)
    size, stride = (int(match[1]), int(match[2] or max(1, int(match[1]) // 2))) if match else (0, 0)
    if size < 4 or not 1 <= stride <= size:
        raise UsageError(
            f"patch must be none, SIZE or SIZE:STRIDE in pixels, such as 30:25, with at least 4 pixels and a stride up "
            f"to the size, but is {text!r}"
        )
    return size, stride


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


def cut_patches(images: NDArray[Any], size: int, stride: int, seed: int) -> NDArray[Any]:
    """All patches (m, c, size, size) of images (n, c, h, w), or `MOST_PATCHES` of them drawn at random."""
    rows, columns = (patch_starts(length, size, stride) for length in images.shape[2:])
    places = [(index, row, column) for index in range(len(images)) for row in rows for column in columns]
    if len(places) > MOST_PATCHES:
        chosen = np.random.default_rng(seed).choice(len(places), MOST_PATCHES, replace=False)
        places = [places[place] for place in np.sort(chosen)]
    return np.stack([images[index, :, row : row + size, column : column + size] for index, row, column in places])
