"""Pixel masks of defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .decode import read_image


def read_mask(path: Path, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) bool, True where the defect is, from a picture of any size; brighter than half is a defect.

    A defect that would vanish in a smaller mask leaves at least a place.

    Raises:
        DataError: the file is missing or no picture.
    """
    from PIL import Image

    pixels = read_image(path)
    pixels = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    high = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    full = pixels > high / 2
    if full.shape == (height, width):
        return full
    share = np.asarray(
        Image.fromarray(full.astype(np.float32)).resize((width, height), Image.Resampling.BOX), dtype=np.float32
    )
    mask: NDArray[np.bool_] = share >= 0.5
    return mask if mask.any() or not full.any() else share == share.max()
