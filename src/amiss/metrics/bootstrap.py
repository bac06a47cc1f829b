"""How far a measured value can be trusted: bootstrap intervals for any measure, Wilson intervals for shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import overload

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from .ranking import flags

Weights = NDArray[np.float64]

#: A resample of groups lacks a class with probability below 3/4, so that so many redraws fail practically never.
_MOST_REDRAWS = 100


@dataclass(frozen=True)
class Interval:
    """A value and the confidence interval around it; NaN where there is none.

    >>> Interval(0.9, 0.8, 0.95).as_dict()
    {'value': 0.9, 'low': 0.8, 'high': 0.95}
    """

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """As plain values for JSON: None in place of NaN."""
        return {"value": plain(self.value), "low": plain(self.low), "high": plain(self.high)}


def plain(value: float) -> float | None:
    """`value` as JSON can hold it: None in place of NaN.

    >>> plain(0.5), plain(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else float(value)


@overload
def bootstrap(
    measure: Callable[[Weights], float],
    labels: ArrayLike,
    groups: Sequence[str | None] | None = ...,
    repeats: int = ...,
    level: float = ...,
    seed: int = ...,
) -> Interval: ...
@overload
def bootstrap(
    measure: Callable[[Weights], dict[str, float]],
    labels: ArrayLike,
    groups: Sequence[str | None] | None = ...,
    repeats: int = ...,
    level: float = ...,
    seed: int = ...,
) -> dict[str, Interval]: ...
def bootstrap(
    measure: Callable[[Weights], float] | Callable[[Weights], dict[str, float]],
    labels: ArrayLike,
    groups: Sequence[str | None] | None = None,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | dict[str, Interval]:
    """Percentile bootstrap of one measure, or of many that are taken from the same resamples.

    Without groups, images are drawn within each class, so that every resample has as many normal and anomalous ones.
    With groups (pictures of one item, say), whole groups are drawn, since images of one group tell less than as many
    independent ones; a resample that lacks one of the classes is drawn again. Of a class with a single image or group
    nothing can be learned on its spread: the interval is then too narrow.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        measure: maps weights (n,) float64, how often each image was drawn, to a number or to numbers by name;
            resamples for which it gives NaN are left out of that interval.
        labels: (n,) bool, True = anomalous.
        groups: n group names, None where an image stands alone.
        repeats: number of resamples, at least 1.
        level: of confidence, in (0, 1).
        seed: chooses the resamples.

    Returns:
        An `Interval`, or `Interval`s by name, as `measure` gives; the value is that of all images counted once.

    Raises:
        UsageError: repeats or level out of range.
        DataError: no images, or labels and groups that do not fit.

    >>> values, labels = np.array([1.0, 2.0, 3.0, 4.0]), [False] * 4
    >>> bootstrap(lambda weights: float(np.average(values, weights=weights)), labels)
    Interval(value=2.5, low=1.5, high=3.5)
    """
    if repeats < 1:
        raise UsageError(f"repeats is {repeats}; give at least 1")
    _check_level(level)
    anomalous = flags(labels, "labels")
    if not len(anomalous):
        raise DataError("there are no images to resample; give at least one")
    rng = np.random.default_rng(seed)
    draw = _image_drawer(anomalous, rng) if groups is None else _group_drawer(anomalous, groups, rng)
    value = measure(np.ones(len(anomalous)))
    resampled = [measure(draw()) for _ in range(repeats)]
    if not isinstance(value, dict):
        return _interval(value, np.array(resampled, dtype=np.float64), level)
    columns = np.array([[row[name] for name in value] for row in resampled if isinstance(row, dict)], dtype=np.float64)
    return {name: _interval(value[name], column, level) for name, column in zip(value, columns.T, strict=True)}


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Confidence interval of a share of independent cases, that holds for small numbers and for none at all, too.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    Args:
        successes: of n cases, in [0, n].
        n: number of cases; with none, everything is NaN.
        level: of confidence, in (0, 1).

    Raises:
        UsageError: successes outside [0, n], or level outside (0, 1).

    >>> interval = wilson(1, 100)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.0018, 0.0545)
    """
    _check_level(level)
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} is no share; give successes from 0 to n")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    share, z = successes / n, NormalDist().inv_cdf((1 + level) / 2)
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives 0 and 1 but for rounding.
    low = (centre - reach) / scale if successes > 0 else 0.0
    high = (centre + reach) / scale if successes < n else 1.0
    return Interval(share, low, high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; give a confidence between 0 and 1, such as 0.95")


def _interval(value: float, resampled: Weights, level: float) -> Interval:
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Interval(float(value), math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def _times_drawn(n: int, rng: Generator) -> Weights:
    """How often each of n is drawn in n draws with replacement."""
    times: Weights = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
    return times


def _image_drawer(anomalous: NDArray[np.bool_], rng: Generator) -> Callable[[], Weights]:
    classes = [members for members in (np.flatnonzero(~anomalous), np.flatnonzero(anomalous)) if len(members)]

    def draw() -> Weights:
        weights = np.empty(len(anomalous))
        for members in classes:
            weights[members] = _times_drawn(len(members), rng)
        return weights

    return draw


def _group_drawer(anomalous: NDArray[np.bool_], groups: Sequence[str | None], rng: Generator) -> Callable[[], Weights]:
    if len(groups) != len(anomalous):
        raise DataError(f"there are {len(groups)} groups for {len(anomalous)} labels; give one (or None) per image")
    numbers: dict[Hashable, int] = {}
    # The position is the name of an image that stands alone: being no text, it cannot clash with a group's.
    names = (position if group is None else group for position, group in enumerate(groups))
    member_of = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    classes = [members for members in (~anomalous, anomalous) if members.any()]

    def draw() -> Weights:
        for _ in range(_MOST_REDRAWS):
            weights: Weights = _times_drawn(len(numbers), rng)[member_of]
            if all(weights[members].any() for members in classes):
                break
        return weights

    return draw
