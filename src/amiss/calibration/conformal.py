"""Conformal p-values and the decision at a promised false-alarm rate.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Laxhammar, Conformal Anomaly
Detection, 2014; of one calibration set: Vovk, Conditional validity of inductive conformal predictors, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..metrics.ranking import finite_vector

#: alpha (n + 1) must count as a whole number in spite of rounding, such as 0.29 * 100 = 28.999999999999996.
_ROUNDING = 1e-9
#: An event lasts as long as scores exceed what so many times the promised share of normal frames does.
_LASTING = 5
#: How sure `Decision.explain` is of what one calibration set guarantees.
_CONFIDENCE = 0.95


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


def largest_of_groups(scores: NDArray[np.float32], groups: Sequence[str]) -> NDArray[np.float32]:
    """The largest score of each group of images: one draw a group, however many images it has.

    Args:
        scores: (n,) float32.
        groups: (n,) the name of the group of each; an image that stands alone is a group of its own.

    Returns:
        (g,) float32, in the order in which the groups are first met.

    >>> largest_of_groups(np.array([1, 5, 2, 3], dtype=np.float32), ["a", "b", "a", "c"]).tolist()
    [2.0, 5.0, 3.0]
    """
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(group, len(numbers)) for group in groups]
    largest = np.full(len(numbers), -np.inf, dtype=np.float32)
    np.maximum.at(largest, places, scores)
    return largest


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Decision:
    """Flags images so that few normal ones are: the promise holds for any method and any distribution of scores.

    Of normal images exchangeable with the calibration ones (drawn alike, in no telling order) at most the share
    `false_alarm_rate` is flagged. The guarantee is marginal, that is on average over calibration sets and images: one
    particular calibration set can come out somewhat above or below; how far above, `upper_rate` tells. Source: Vovk et
    al. (conformal prediction) and Laxhammar (conformal anomaly detection), see the module.

    Related images (exposures of one item, frames of one video) are not exchangeable, but their groups may be. Where
    there are enough groups, each is one draw, its largest score, and the promise is over groups: of new normal ones, at
    most the share `false_alarm_rate` has any flagged image. So a normal image, of a group drawn at random, is flagged
    no more often.

    Where the images were learnt from too, each scored by a fit on the others (`crossed`), the rate is kept nearly: at
    most alpha for fits that hardly depend on single images. What is proven, and of which methods: docs/decisions.md.

    Args:
        calibration: (n,) float32, finite: scores of normal images that were not trained on.
        false_alarm_rate: promised alpha, in (0, 1).
        groups: how many groups of related images the calibration images come in, or None where each stands alone.
        frames: are the images frames of videos? Then they are called so.
        largest: (groups,) float32, finite: the largest score of each group (see `largest_of_groups`); None where it is
            not known, or where groups are related too, as parts of one video are. Nothing is promised then.
        crossed: was each calibration image scored by a fit that had not seen it, while what scores new images has?

    Raises:
        UsageError: a rate outside (0, 1).
        DataError: no calibration scores, or non-finite ones.

    >>> decision = Decision(np.arange(99, dtype=np.float32), 0.02)
    >>> decision.rank, decision.threshold, decision.guaranteed
    (2, 97.0, True)
    >>> decision.is_anomaly([97.0, 97.5]).tolist()
    [False, True]

    >>> grouped = Decision(np.arange(8, dtype=np.float32), 0.25, groups=4, largest=np.float32([1, 3, 5, 7]))
    >>> grouped.n, grouped.threshold, grouped.guaranteed
    (4, 7.0, True)
    """

    calibration: NDArray[np.float32]
    false_alarm_rate: float
    groups: int | None = None
    frames: bool = False
    largest: NDArray[np.float32] | None = None
    crossed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 1:
            raise UsageError(f"the false-alarm rate is {self.false_alarm_rate}; give one between 0 and 1, such as 0.01")
        _calibration_scores(self.calibration)
        if self.largest is not None:
            _calibration_scores(self.largest)

    @property
    def by_group(self) -> bool:
        """Whether a group of related images is one draw, by its largest score, and the promise is over groups."""
        return self.largest is not None and len(self.largest) >= self.images_needed

    @property
    def draws(self) -> NDArray[np.float32]:
        """(n,) float32, what new scores are compared with: `largest` where decided by group, else `calibration`."""
        return self.largest if self.largest is not None and self.by_group else self.calibration

    @property
    def n(self) -> int:
        """Number of draws: calibration images or, where decided by group, groups of them."""
        return len(self.draws)

    @property
    def rank(self) -> int:
        """Which of the largest draws is the threshold, in [1, n]."""
        largest = math.floor(self.false_alarm_rate * (self.n + 1) + _ROUNDING)
        return min(max(1, largest), self.n)

    @property
    def threshold(self) -> float:
        """The score of that rank; scores above it are flagged."""
        index = self.n - self.rank
        return float(np.partition(np.asarray(self.draws), index)[index])

    @property
    def attainable_rate(self) -> float:
        """The lowest false-alarm rate that can be promised, 1 / (m + 1) for m calibration images, or groups where they
        come in groups; 1 where none can be.
        """
        if self.groups is None:
            return 1 / (len(self.calibration) + 1)
        return 1.0 if self.largest is None else 1 / (len(self.largest) + 1)

    @property
    def images_needed(self) -> int:
        """How many calibration images, or groups of related ones, it takes to promise the rate.

        >>> Decision(np.zeros(1, dtype=np.float32), 0.01).images_needed
        99
        """
        return max(1, math.ceil((1 - _ROUNDING) / self.false_alarm_rate - 1))

    @property
    def guaranteed(self) -> bool:
        """Whether the rate can be promised: there are enough calibration images that stand alone, or enough groups."""
        return self.by_group or (self.groups is None and self.n >= self.images_needed)

    @property
    def bound(self) -> str:
        """How the rate is kept on average, in words: `at most`, or `about` it where scores are `crossed`."""
        return "about" if self.crossed else "at most"

    def upper_rate(self, confidence: float = _CONFIDENCE) -> float | None:
        """What this very calibration set guarantees: its long-run false-alarm rate is, with this confidence, no higher.

        The long-run rate is the share of all normal images (of groups, where decided by group) that this threshold
        flags. Over calibration sets of n exchangeable, continuous scores with the threshold at the k-th largest, it has
        the distribution Beta(k, n + 1 - k), whose quantile this is; ties make the rate only smaller. Source: Vovk 2012,
        see the module.

        Args:
            confidence: share of calibration sets for which the bound holds, in (0, 1).

        Returns:
            In (0, 1), for the rank in use, whether or not the rate is guaranteed on average; None where related images
            are decided one by one, and where scores are `crossed`, which are not independent.

        Raises:
            UsageError: a confidence outside (0, 1).

        >>> decision = Decision(np.arange(99, dtype=np.float32), 0.01)
        >>> round(decision.upper_rate(0.95), 4), round(1 - 0.05 ** (1 / 99), 4)
        (0.0298, 0.0298)
        """
        if not 0 < confidence < 1:
            raise UsageError(f"the confidence is {confidence}; give one between 0 and 1, such as 0.95")
        if self.crossed or (self.groups is not None and not self.by_group):
            return None
        return _beta_quantile(confidence, self.rank, self.n)

    def chance(self, flagged: int, of: int) -> float | None:
        """How likely it is that at least so many of so many new normal images (or groups, where decided by group) are
        flagged, if they are exchangeable with the calibration ones.

        The long-run rate of this threshold is itself drawn (see `upper_rate`), so the number has a beta-binomial
        distribution: a binomial one around the promise would call calibration sets wrong that only came out low.

        Args:
            flagged: of them, in [0, of].
            of: number of independent new images.

        Returns:
            In [0, 1]; None where related images are decided one by one. Nearly so where scores are `crossed`.

        >>> decision = Decision(np.arange(99, dtype=np.float32), 0.01)
        >>> decision.chance(0, 50), round(decision.chance(1, 1), 4), decision.chance(20, 100) < 1e-6
        (1.0, 0.01, True)
        """
        if self.groups is not None and not self.by_group:
            return None
        k, rest = self.rank, self.n + 1 - self.rank
        chances = [
            math.exp(_log_choose(of, number) + _log_beta(number + k, of - number + rest) - _log_beta(k, rest))
            for number in range(flagged, of + 1)
        ]
        return min(1.0, math.fsum(chances)) if flagged > 0 else 1.0

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """(m,) float64 p-values of scores (m,), see `p_values`; raises `DataError` for non-finite scores.

        Where decided by group, a score is compared with the largest of each group, so that the p-value of a single
        normal image tends to be too high: it is small at most as often as it should be.

        >>> Decision(np.arange(3, dtype=np.float32), 0.5).p_values([5.0]).tolist()
        [0.25]
        """
        return p_values(scores, self.draws)

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
        return self.threshold, Decision(self.draws, lasting).threshold

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; `upper_rate` at `confidence`, None where nothing is known of it."""
        return {
            "false_alarm_rate": self.false_alarm_rate,
            "threshold": self.threshold,
            "guaranteed": self.guaranteed,
            "by_group": self.by_group,
            "attainable_rate": self.attainable_rate,
            "images_needed": self.images_needed,
            "upper_rate": self.upper_rate(),
            "confidence": _CONFIDENCE,
        }

    def explain(self) -> str:
        """What is promised on average, or why the rate cannot be and what it takes; then, in a second sentence, what
        this calibration set guarantees, where anything is known of it.

        >>> "5 held-out normal frames" in Decision(np.zeros(5, np.float32), 0.01, frames=True).explain()
        True

        >>> Decision(np.arange(99, dtype=np.float32), 0.01).explain()[:52]
        'On average at most 1 % of normal images are flagged,'
        """
        return f"{self._on_average()} {self.explain_upper_rate()}".rstrip()

    def explain_upper_rate(self) -> str:
        """One sentence on what this calibration set guarantees; empty where nothing is known of it.

        >>> Decision(np.arange(99, dtype=np.float32), 0.01).explain_upper_rate()
        'With 95 % confidence, this threshold flags at most 2.98 % in the long run.'
        """
        upper = self.upper_rate()
        if upper is None:
            return ""
        share = _percent(upper) + (f" of {self._group}s" if self.by_group else "")
        return f"With {_percent(_CONFIDENCE)} confidence, this threshold flags at most {share} in the long run."

    @property
    def _group(self) -> str:
        return "video" if self.frames else "group"

    def _on_average(self) -> str:
        wanted, image, group = _percent(self.false_alarm_rate), "frame" if self.frames else "image", self._group
        held, bound = "" if self.crossed else "held-out ", self.bound
        unseen = ", scored by fits that had not seen them" if self.crossed else ""
        if self.by_group:
            related = "videos" if self.frames else "groups of related images"
            return (
                f"On average {bound} {wanted} of normal {related} have any flagged {image}, provided that they are "
                f"like the {self.n} {held}normal {group}s that set the threshold, each by its largest score{unseen}."
            )
        if self.guaranteed:
            return (
                f"On average {bound} {wanted} of normal {image}s are flagged, provided that they are like the {self.n} "
                f"{held}normal {image}s that set the threshold{unseen}."
            )
        if self.groups is not None:
            takes = ""
            if self.groups < self.images_needed:
                takes = f" A rate of {wanted} takes {self.images_needed} {group}s"
                if self.largest is not None:
                    takes += f", and {self.groups} can promise {_percent(self.attainable_rate)} at the lowest"
                takes += "."
            return (
                f"No false-alarm rate is promised, because the {self.n} {held}normal {image}s come in only "
                f"{self.groups} group{'s' * (self.groups != 1)} of related pictures.{takes} Expect roughly {wanted}, "
                "and measure it on other groups."
            )
        are = f"{image} is" if self.n == 1 else f"{image}s are"
        return (
            f"{self.n} {held}normal {are} too few to promise a false-alarm rate of {wanted}, which takes "
            f"{self.images_needed}; the lowest that can be promised is {_percent(self.attainable_rate)}, by flagging "
            "what scores above all of them."
        )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_quantile(probability: float, k: int, n: int) -> float:
    """The quantile of Beta(k, n + 1 - k), k in [1, n]: the lowest x with Bin(n, x) < k at most as often as 1 - p."""
    fewer = np.arange(k)
    choose = np.concatenate([[0.0], np.cumsum(np.log((n - fewer[:-1]) / (fewer[:-1] + 1)))])  # log of n over j
    low, high = 0.0, 1.0
    while low < (x := (low + high) / 2) < high:
        terms = choose + fewer * math.log(x) + (n - fewer) * math.log1p(-x)
        largest = terms.max()
        if largest + math.log(np.exp(terms - largest).sum()) > math.log1p(-probability):
            low = x
        else:
            high = x
    return high


def _calibration_scores(calibration: ArrayLike) -> NDArray[np.float64]:
    checked = finite_vector(calibration, "calibration scores")
    if not len(checked):
        raise DataError("there are no calibration scores; hold out at least one normal image for calibration")
    return checked


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
