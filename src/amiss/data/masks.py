"""Pixel masks of defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decode import read_image
from .preprocessing import Preprocessing


def read_mask(path: Path, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """(h, w) bool of the prepared image, True where the defect is; brighter than half is a defect.

    The mask is as large as its image, or at least of its shape. A defect that would vanish in a smaller one leaves at
    least a place.

    Raises:
        DataError: the file is missing or no picture.
    """
    pixels = read_image(path)
    pixels = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    high = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    full = pixels > high / 2
    mask = np.zeros((preprocessing.height, preprocessing.width), dtype=np.bool_)
    rows, columns = preprocessing.region(*full.shape)
    inner = (rows.stop - rows.start, columns.stop - columns.start)
    if full.shape != inner:
        picture = Image.fromarray(full.astype(np.float32))
        share = np.asarray(picture.resize(inner[::-1], Image.Resampling.BOX), dtype=np.float32)
        covered = share >= 0.5
        full = covered if covered.any() or not full.any() else share == share.max()
    mask[rows, columns] = full
    return mask
