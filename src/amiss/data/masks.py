"""Pixel masks of defects."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError, MaskShapeError
from .collection import Item, Pixels
from .decode import picture_size, read_image
from .preprocessing import Preprocessing

#: A picture of which so few grey levels take up so large a share is a mask, with soft edges perhaps.
_LEVELS, _SHARE = 8, 0.9
#: Pixels to a side that tell.
_ENOUGH = 512


def looks_like_mask(path: str | os.PathLike[str]) -> bool:
    """Whether a picture has few grey levels, as masks have; False where it cannot be read."""
    try:
        pixels = _brightest(read_image(path))
    except DataError:
        return False
    step = max(1, max(pixels.shape) // _ENOUGH)
    counts = np.sort(np.unique(pixels[::step, ::step], return_counts=True)[1])[::-1]
    return bool(counts[:_LEVELS].sum() >= _SHARE * counts.sum())


def defect_pixels(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """(h, w) bool of a mask at its own size: brighter than half is a defect.

    Where nothing is, and the file is not a lossy one, any pixel that is not black: some masks hold the numbers of
    classes.

    Raises:
        DataError: the file is missing or no picture.
    """
    pixels = _brightest(read_image(path))
    high = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    full: NDArray[np.bool_] = pixels > high / 2
    if not full.any() and not os.fspath(path).lower().endswith((".jpg", ".jpeg")):
        full = pixels > 0
    return full


def read_mask(
    path: Path, preprocessing: Preprocessing, name: str = "its image", size: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """(h, w) bool of the prepared image, True where the defect is; see `defect_pixels`.

    A defect that would vanish in a smaller mask leaves at least a place.

    Args:
        path: the file.
        preprocessing: of the image.
        name, size: of the image, (height, width) in pixels, where they are known.

    Raises:
        DataError: the file is missing or no picture.
        MaskShapeError: it has another shape than the image, so that it cannot be its.
    """
    full = defect_pixels(path)
    if size is not None:
        check_shape(path, full.shape, name, size)
    mask = np.zeros((preprocessing.height, preprocessing.width), dtype=np.bool_)
    rows, columns = preprocessing.region(*(size or full.shape))
    inner = (rows.stop - rows.start, columns.stop - columns.start)
    if full.shape != inner:
        picture = Image.fromarray(full.astype(np.float32))
        share = np.asarray(picture.resize(inner[::-1], Image.Resampling.BOX), dtype=np.float32)
        covered = share >= 0.5
        full = covered if covered.any() or not full.any() else share == share.max()
    mask[rows, columns] = full
    return mask


def check_masks(items: Iterable[Item]) -> None:
    """Raise `MaskShapeError` for the first mask that cannot belong to its image; what is no file is passed over."""
    for item in items:
        if item.mask is not None and (size := picture_size(item.name)) and (shape := picture_size(item.mask)):
            check_shape(item.mask, shape, item.name, size)


def check_shape(path: str | Path, shape: tuple[int, ...], name: str, size: tuple[int, int]) -> None:
    """Raise `MaskShapeError`, which names both, unless a mask (h, w) has the aspect of its image (h, w)."""
    if abs(shape[0] * size[1] - shape[1] * size[0]) > max(*size, *shape):
        raise MaskShapeError(
            f"the mask {path} is {shape[1]} wide and {shape[0]} high, and {name} is {size[1]} wide and {size[0]} "
            "high: it cannot be its mask; give one of the same size"
        )


def _brightest(pixels: Pixels) -> Pixels:
    """(h, w): of colours the brightest channel."""
    brightest: Pixels = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    return brightest
