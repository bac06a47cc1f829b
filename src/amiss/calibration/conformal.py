"""Conformal p-values and the decision at a promised false-alarm rate.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Laxhammar, Conformal Anomaly
Detection, 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..metrics.ranking import finite_vector

#: alpha (n + 1) must count as a whole number in spite of rounding, such as 0.29 * 100 = 28.999999999999996.
_ROUNDING = 1e-9
#: An event lasts as long as scores exceed what so many times the promised share of normal frames does.
_LASTING = 5


def p_values(scores: ArrayLike, calibration: ArrayLike) -> NDArray[np.float64]:
    """How surprising each score would be for a normal image: p = (1 + #{calibration >= score}) / (n + 1).

    Args:
        scores: (m,) finite, higher = more anomalous.
        calibration: (n,) finite, in any order: scores of normal images that were not trained on.

    Returns:
        (m,) float64 in [1 / (n + 1), 1]. For a normal image exchangeable with the calibration ones, p <= alpha has
        probability at most alpha.

    Raises:
        DataError: non-finite values, other shapes, or no calibration scores.

    >>> p_values([0.0, 2.5, 9.0], [3, 1, 2]).tolist()
    [1.0, 0.5, 0.25]
    """
    rising = np.sort(_calibration_scores(calibration))
    below = np.searchsorted(rising, finite_vector(scores, "scores"), side="left")
    return (1.0 + (len(rising) - below)) / (len(rising) + 1)


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Decision:
    """Flags images so that few normal ones are: the promise holds for any method and any distribution of scores.

    Of normal images exchangeable with the calibration ones (drawn alike, in no telling order) at most the share
    `false_alarm_rate` is flagged. The guarantee is marginal, that is on average over calibration sets and images: one
    particular calibration set can come out somewhat above or below. Source: Vovk et al. (conformal prediction) and
    Laxhammar (conformal anomaly detection), see the module.

    Args:
        calibration: (n,) float32, finite: scores of normal images that were not trained on.
        false_alarm_rate: promised alpha, in (0, 1).
        groups: how many groups of related images (exposures of one item, frames of one video) the calibration images
            come in, or None where each stands alone. Related images are not exchangeable, so nothing is promised.
        frames: are the images frames of videos? Then they are called so.

    Raises:
        UsageError: a rate outside (0, 1).
        DataError: no calibration scores, or non-finite ones.

    >>> decision = Decision(np.arange(99, dtype=np.float32), 0.02)
    >>> decision.rank, decision.threshold, decision.guaranteed
    (2, 97.0, True)
    >>> decision.is_anomaly([97.0, 97.5]).tolist()
    [False, True]
    """

    calibration: NDArray[np.float32]
    false_alarm_rate: float
    groups: int | None = None
    frames: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 1:
            raise UsageError(f"the false-alarm rate is {self.false_alarm_rate}; give one between 0 and 1, such as 0.01")
        _calibration_scores(self.calibration)

    @property
    def n(self) -> int:
        """Number of calibration images."""
        return len(self.calibration)

    @property
    def rank(self) -> int:
        """Which of the largest calibration scores is the threshold, in [1, n]."""
        largest = math.floor(self.false_alarm_rate * (self.n + 1) + _ROUNDING)
        return min(max(1, largest), self.n)

    @property
    def threshold(self) -> float:
        """The calibration score of that rank; scores above it are flagged."""
        index = self.n - self.rank
        return float(np.partition(np.asarray(self.calibration), index)[index])

    @property
    def attainable_rate(self) -> float:
        """The lowest false-alarm rate that n calibration images can promise, 1 / (n + 1)."""
        return 1 / (self.n + 1)

    @property
    def images_needed(self) -> int:
        """How many calibration images it takes to promise the rate.

        >>> Decision(np.zeros(1, dtype=np.float32), 0.01).images_needed
        99
        """
        return max(1, math.ceil((1 - _ROUNDING) / self.false_alarm_rate - 1))

    @property
    def guaranteed(self) -> bool:
        """Whether the rate can be promised: there are enough calibration images, and each stands alone."""
        return self.n >= self.images_needed and self.groups is None

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """(m,) float64 p-values of scores (m,), see `p_values`; raises `DataError` for non-finite scores.

        >>> Decision(np.arange(3, dtype=np.float32), 0.5).p_values([5.0]).tolist()
        [0.25]
        """
        return p_values(scores, self.calibration)

    def is_anomaly(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """(m,) bool for scores (m,): whether they lie above the threshold; raises `DataError` for non-finite scores.

        Equal to p <= alpha where the rate is guaranteed. With too few calibration images no score can reach alpha:
        then only scores above all of theirs are flagged.

        >>> Decision(np.arange(3, dtype=np.float32), 0.5).is_anomaly([1.0, 1.5]).tolist()
        [False, True]
        """
        return finite_vector(scores, "scores") > self.threshold

    def event_thresholds(self) -> tuple[float, float]:
        """Where events of frames begin, and how far they last: above what 1, and what 5 times the promised share of
        normal frames do.

        The promise is of single frames; scores of events are averaged, so fewer normal frames begin one.
        """
        lasting = min(0.5, _LASTING * self.false_alarm_rate)
        return self.threshold, replace(self, false_alarm_rate=lasting).threshold

    def explain(self) -> str:
        """One sentence on what is promised, or on why the rate cannot be and what it takes.

        >>> "5 held-out normal frames" in Decision(np.zeros(5, np.float32), 0.01, frames=True).explain()
        True

        >>> Decision(np.arange(99, dtype=np.float32), 0.01).explain()[:52]
        'On average at most 1 % of normal images are flagged,'
        """
        wanted, images = _percent(self.false_alarm_rate), "frames" if self.frames else "images"
        if self.guaranteed:
            return (
                f"On average at most {wanted} of normal {images} are flagged, provided that they are like the {self.n} "
                f"held-out normal {images} that set the threshold."
            )
        if self.groups is not None:
            return (
                f"No false-alarm rate is promised, because the {self.n} held-out normal {images} come in only "
                f"{self.groups} group{'s' * (self.groups != 1)} of related pictures; expect roughly {wanted}, and "
                "measure it on other groups."
            )
        are = f"{images[:-1]} is" if self.n == 1 else f"{images} are"
        return (
            f"{self.n} held-out normal {are} too few to promise a false-alarm rate of {wanted}, which takes "
            f"{self.images_needed}; the lowest that can be promised is {_percent(self.attainable_rate)}, by flagging "
            "what scores above all of them."
        )


def _calibration_scores(calibration: ArrayLike) -> NDArray[np.float64]:
    checked = finite_vector(calibration, "calibration scores")
    if not len(checked):
        raise DataError("there are no calibration scores; hold out at least one normal image for calibration")
    return checked


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
