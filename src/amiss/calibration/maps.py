"""Anomaly maps as people look at them: smoothed, on a scale from calibration normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .conformal import Decision


@dataclass(frozen=True)
class MapScale:
    """The scale on which smoothed maps are shown, from calibration normals.

    Attributes:
        floor: their median location; at or below it nothing is shown.
        threshold: exceeded by the largest location of as many normal images as the false-alarm rate allows.
    """

    floor: float
    threshold: float

    @classmethod
    def of(
        cls, maps: NDArray[np.float32], false_alarm_rate: float, inside: NDArray[np.bool_] | None = None
    ) -> MapScale:
        """From the maps (n, h, w) of calibration normals; `inside` is where in them (h, w) to look, None everywhere."""
        shown = smoothed(within(maps, inside))
        highest = shown.reshape(len(shown), -1).max(axis=1)
        seen = shown if inside is None else shown[:, inside]
        return cls(float(np.median(seen)), Decision(highest, false_alarm_rate).threshold)


def within(maps: NDArray[np.float32], inside: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Maps (n, h, w) with the smallest value of each one's inside (h, w) at all places outside; None: no place is.

    >>> within(np.array([[[3, 2, 9]]], np.float32), np.array([[True, True, False]])).tolist()
    [[[3.0, 2.0, 2.0]]]
    """
    if inside is None:
        return maps
    lowest = maps[:, inside].min(axis=1)
    return np.where(inside, maps, lowest[:, None, None])


def smoothed(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over a square window of a sixteenth of the shorter side, at least three pixels.

    A single pixel of a good image can be as wrong as one of a defect; a patch of them cannot. So maps are shown, and
    their scale is calibrated, after smoothing; `anomaly_map` gives them as they are.

    Args:
        maps: (..., h, w) float32.

    Returns: the same shape; at the border the window is cut.

    >>> smoothed(np.ones((2, 8, 8), dtype=np.float32)).max()
    np.float32(1.0)
    """
    height, width = maps.shape[-2:]
    radius = max(3, min(height, width) // 16) // 2
    values = maps.astype(np.float64)
    for axis, length in ((-2, height), (-1, width)):
        sums = np.cumsum(values, axis=axis)
        sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis=axis)), sums], axis=axis)
        pixels = np.arange(length)
        low, high = np.maximum(pixels - radius, 0), np.minimum(pixels + radius + 1, length)
        counts = (high - low).reshape([-1 if axis == each - values.ndim else 1 for each in range(values.ndim)])
        values = (np.take(sums, high, axis=axis) - np.take(sums, low, axis=axis)) / counts
    return values.astype(np.float32)


def resized(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map (h, w) float32 at another size, bilinearly; edge stays on edge."""
    if plane.shape == (height, width):
        return plane
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
