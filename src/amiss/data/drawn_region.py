"""A region of interest from what users give: boxes, polygons and masks."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .collection import Pixels
from .masks import check_shape, defect_pixels
from .region_of_interest import RegionOfInterest

#: The mask has at most so many pixels a side; what is finer is lost.
_FINEST = 2048
_HOW = (
    "write a box as X,Y,WIDTH,HEIGHT, a polygon as 'X,Y X,Y X,Y', in pixels or, where no number is above 1, in shares "
    "of width and height, or give a mask: a picture that is white there"
)


def read_region(within: Sequence[str], without: Sequence[str], samples: Iterable[Pixels]) -> RegionOfInterest:
    """What any of `within` holds, or else the whole image, less what any of `without` holds.

    Args:
        within, without: each a box `x,y,width,height`, a polygon `x,y x,y x,y`, or the file of a mask that is white
            there. Numbers are pixels, from the top left corner; where none is above 1, shares of width and height.
        samples: some training images, at least one, (h, w) or (h, w, 3).

    Raises:
        UsageError: what cannot be understood, lies outside the images, or leaves nothing; or pixels where the images
            have several sizes.
        DataError: a mask cannot be read, or has another aspect than the images.

    >>> read_region(["0,0,0.5,1"], ["0,0,2,1"], [np.full((2, 4), 200, np.uint8)])
    RegionOfInterest(height=2, width=4, runs=(4, 2, 2), fill=200)
    """
    images = iter(samples)
    first = next(images)
    height, width = first.shape[:2]
    scale = min(1.0, _FINEST / max(height, width))
    inside = np.full((max(1, round(height * scale)), max(1, round(width * scale))), not within)
    for text in within:
        inside |= _drawn(text, inside.shape, (height, width))
    for text in without:
        inside &= ~_drawn(text, inside.shape, (height, width))
    if not inside.any():
        raise UsageError(f"what is left of the images by {' and '.join((*within, *without))} holds no pixel; {_HOW}")
    roi = RegionOfInterest.of(inside)
    in_pixels = any(max(_numbers(text), default=0) > 1 for text in (*within, *without))
    levels = []
    for image in itertools.chain([first], images):
        if in_pixels and image.shape[:2] != (height, width):
            raise UsageError(
                f"the region is given in pixels, and the images have several sizes, {width}x{height} and "
                f"{image.shape[1]}x{image.shape[0]} among them; give shares of width and height, from 0 to 1"
            )
        seen = image[roi.at(*image.shape[:2])]
        if seen.size:  # a picture of a few pixels may show nothing of it
            levels.append(
                float(seen.mean(dtype=np.float64)) / (np.iinfo(seen.dtype).max if seen.dtype.kind == "u" else 1)
            )
    return dataclasses.replace(roi, fill=round(255 * float(np.mean(levels))) if levels else 0)


def _numbers(text: str) -> list[float]:
    """Those of a box or polygon; none for a file."""
    parts = re.sub(r"\s*,\s*", ",", text.strip()).split()
    pairs = [part.split(",") for part in parts]
    is_box, is_polygon = (
        len(pairs) == 1 and len(pairs[0]) == 4,
        len(pairs) > 2 and all(len(pair) == 2 for pair in pairs),
    )
    try:
        return [float(number) for pair in pairs for number in pair] if is_box or is_polygon else []
    except ValueError:
        return []


def _drawn(text: str, raster: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w) bool: a box, polygon or mask on a raster (h, w) over images of a size (height, width)."""
    numbers = _numbers(text)
    if not numbers:
        return _of_mask(text, raster, size)
    corners = np.array(numbers).reshape(-1, 2)
    if len(corners) == 2:
        (x, y), (width, height) = corners
        corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])
    if max(numbers) > 1:
        corners = corners / (size[1], size[0])
    if not (corners.min() >= 0 and corners.max() <= 1 + 1e-9):  # NaN, too
        raise UsageError(
            f"the region {text!r} reaches beyond the images, which are {size[1]} wide and {size[0]} high; {_HOW}"
        )
    return _polygon(corners * (raster[1], raster[0]), raster)


def _polygon(corners: NDArray[np.float64], raster: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w) bool: pixels whose centre lies inside, where an odd number of edges lies to their right."""
    inside = np.zeros(raster, dtype=np.bool_)
    x, y = np.arange(raster[1]) + 0.5, np.arange(raster[0]) + 0.5
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crossed = np.flatnonzero((y1 > y) != (y2 > y))
        if len(crossed):
            edge = x1 + (y[crossed] - y1) * (x2 - x1) / (y2 - y1)
            inside[crossed] ^= x < edge[:, None]
    return inside


def _of_mask(text: str, raster: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    if not Path(text).is_file():
        raise UsageError(f"the region {text!r} is no box, no polygon, and no file that is there; {_HOW}")
    mask = defect_pixels(text)
    check_shape(text, mask.shape, "an image to learn from", size)
    return RegionOfInterest.of(mask).at(*raster)
