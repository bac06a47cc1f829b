"""The part of every image that a model looks at, kept as one mask; all else is filled in."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .collection import Pixels


@dataclass(frozen=True)
class RegionOfInterest:
    """Where in every image a model looks. It lies at the same shares of width and height in images of all sizes.

    Attributes:
        height, width: of the mask, in pixels.
        runs: how many pixels are outside, inside, outside, ... in turn, row by row; they add up to height times width.
        fill: the grey level, 0 to 255, that all outside is given: the mean of the training images' inside.

    >>> roi = RegionOfInterest.of(np.array([[True, False]]), fill=128)
    >>> roi.at(2, 4).astype(int).tolist(), roi.filled(np.full((1, 2), 9, np.uint8)).tolist()
    ([[1, 1, 0, 0], [1, 1, 0, 0]], [[9, 128]])
    """

    height: int
    width: int
    runs: tuple[int, ...]
    fill: int

    @classmethod
    def of(cls, inside: NDArray[np.bool_], fill: int = 0) -> RegionOfInterest:
        """From the mask (h, w), True where the model looks."""
        flat = np.concatenate([[False], inside.ravel()])
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        runs = np.diff(np.concatenate([[0], changes, [inside.size]]))
        height, width = inside.shape
        return cls(height, width, tuple(runs.tolist()), fill)

    @functools.cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(height, width) of the mask, True where the model looks."""
        return np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.height, self.width)

    def at(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) bool of an image of that size: a pixel is inside where its centre is."""
        if (height, width) == (self.height, self.width):
            return self.inside
        rows, columns = (
            (2 * np.arange(length) + 1) * side // (2 * length)
            for length, side in ((height, self.height), (width, self.width))
        )
        return self.inside[rows[:, None], columns]

    def touching(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) bool of the image brought to that size: places that show any of the inside."""
        shares = Image.fromarray(self.inside.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        return np.asarray(shares) > 0

    def filled(self, pixels: Pixels) -> Pixels:
        """The image (h, w) or (h, w, 3), its outside filled; a copy."""
        filled = pixels.copy()
        full = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        filled[~self.at(*pixels.shape[:2])] = self.fill * full / 255
        return filled

    @property
    def in_words(self) -> str:
        """How large it is, and the box around it, for people."""
        rows, columns = (np.flatnonzero(self.inside.any(axis=axis)) for axis in (1, 0))
        left, right = columns[0] / self.width, (columns[-1] + 1) / self.width
        top, bottom = rows[0] / self.height, (rows[-1] + 1) / self.height
        return (
            f"{100 * self.inside.mean():.3g} % of each image, between {100 * left:.3g} and {100 * right:.3g} % of its "
            f"width, and {100 * top:.3g} and {100 * bottom:.3g} % of its height"
        )
