"""The geometry of the report's charts: bins, ticks and curves, in plain numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histogram:
    """How often scores fall between edges; a bin holds what is above its lower and up to its upper edge.

    Attributes:
        edges: (b + 1,) float64, rising; a finite threshold is exactly one of them.
        counts: (b,) int64, images.
        anomalous: (b,) int64, those of them labelled anomalous; None without labels.
        calibration: (b,) int64, held-out normal images.
        flagged_from: first bin above the threshold; b where none is.
        open_below, open_above: does the first (last) bin also hold everything beyond it?
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    anomalous: NDArray[np.int64] | None
    calibration: NDArray[np.int64]
    flagged_from: int
    open_below: bool
    open_above: bool


def histogram(
    scores: NDArray[np.floating],
    calibration: NDArray[np.floating],
    threshold: float,
    labels: NDArray[np.bool_] | None = None,
) -> Histogram | None:
    """Count scores (n,) and calibration scores (m,) in shared bins; None where there is nothing to count.

    NaN must have been left out. Far outliers are put in the first or last bin, so that they do not squeeze the rest.

    >>> counted = histogram(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.5]), threshold=2.0)
    >>> int(counted.counts[: counted.flagged_from].sum()), int(counted.counts[counted.flagged_from :].sum())
    (2, 1)
    """
    values, normals = np.asarray(scores, np.float64), np.asarray(calibration, np.float64)
    pooled = np.concatenate([values, normals])
    if not len(pooled):
        return None
    low, high = _limits(pooled, threshold)
    bins = int(np.clip(2 * math.sqrt(len(pooled)), 10, 40))
    width = (high - low) / bins
    anchor = threshold if math.isfinite(threshold) else low
    first = math.ceil((low - anchor) / width) - 1
    last = max(math.ceil((high - anchor) / width), first + 1)
    edges: NDArray[np.float64] = anchor + np.arange(first, last + 1, dtype=np.float64) * width

    def count(some: NDArray[np.float64]) -> NDArray[np.int64]:
        places = np.clip(np.searchsorted(edges, some, side="left") - 1, 0, len(edges) - 2)
        return np.bincount(places, minlength=len(edges) - 1).astype(np.int64)

    return Histogram(
        edges,
        count(values),
        None if labels is None else count(values[labels]),
        count(normals),
        -first if math.isfinite(threshold) else len(edges) - 1,
        bool((pooled <= edges[0]).any()),
        bool((pooled > edges[-1] + width / 2).any()),
    )


def _limits(pooled: NDArray[np.float64], threshold: float) -> tuple[float, float]:
    finite = pooled[np.isfinite(pooled)]
    if not len(finite):
        finite = np.array([threshold if math.isfinite(threshold) else 0.0])
    low, high = float(finite.min()), float(finite.max())
    bottom, top = (float(value) for value in np.quantile(finite, [0.01, 0.99]))
    if top > bottom:
        low, high = max(low, bottom - 3 * (top - bottom)), min(high, top + 3 * (top - bottom))
    if math.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
        if high <= threshold and (pooled > threshold).any():
            high = threshold + ((threshold - low) / 10 or abs(threshold) / 10 or 0.5)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) / 10 or 0.5
        low, high = low - half, high + half
    return low, high


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most` of them.

    >>> ticks(0.0, 1.0, most=4)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def tick_labels(values: list[float]) -> list[str]:
    """The values as text with as many digits as tell them apart.

    >>> tick_labels([0.0, 0.25, 0.5])
    ['0.00', '0.25', '0.50']
    """
    largest = max((abs(value) for value in values), default=0.0)
    step = min((after - before for before, after in itertools.pairwise(values)), default=0.0)
    step = step or largest or 1.0
    digits = math.floor(math.log10(step))
    if largest < 1e6 and digits >= -5:
        places = next(places for places in range(9) if places == 8 or abs(step - round(step, places)) < 1e-6 * step)
        return [f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}") for value in values]
    significant = min(12, max(2, math.floor(math.log10(largest)) - digits + 2))
    return [f"{value:.{significant}g}".replace("-", "\N{MINUS SIGN}") for value in values]


def thinned_curve(x: NDArray[np.floating], y: NDArray[np.floating], most: int = 400) -> list[tuple[float, float]]:
    """Points of a curve in [0, 1] x [0, 1], at most about `most`, both ends kept; [] where it has under two points."""
    points = np.stack([np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()], axis=1)
    points = np.clip(points[np.isfinite(points).all(axis=1)], 0.0, 1.0)
    if len(points) < 2:
        return []
    if len(points) > most:
        points = points[np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))]
    return [(float(a), float(b)) for a, b in points]
