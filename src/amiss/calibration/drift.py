"""Have the pictures changed? A test on scores that may be looked at after every image, and for ever.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, chapter 7 (conformal test
martingales); Vovk, Testing randomness online, Statistical Science 2021; of the bound: Ville 1939.
"""

from __future__ import annotations

import json
import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..metrics.ranking import finite_vector
from .conformal import Decision

#: Levels to which scores are rounded: what is kept does not grow with the number of images.
_LEVELS = 1024
#: Share of the scores at the start that only say how fine the levels are.
_FOR_LEVELS = 0.2
#: Densities of Beta distributions, each a bet on how p-values depart from uniform ones: too small, too large, too far
#: out, too much alike.
_BETS = np.array([(0.25, 1), (0.5, 1), (1, 2), (1, 0.25), (1, 0.5), (2, 1), (0.5, 0.5), (2, 2)], dtype=np.float64)
_LOG_NORMS = np.array([math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) for a, b in _BETS])
#: Bets are not made on p-values nearer to 0 or 1, where some would be infinite.
_EDGE = 1e-12


class DriftTest:
    """A conformal test martingale: bets against scores coming in no telling order, whose winnings are the evidence.

    Each score is ranked among those at the start and all earlier ones, ties broken at random. If all are exchangeable,
    these ranks are independent and uniform, whatever the distribution of scores, and no way of betting on them wins on
    average. So the capital, 1 at first, ever reaches 1 / level with a probability of at most `level`, however many
    images come and however often one looks (Ville). Once it has, `changed` stays true.

    Eight bets run side by side. What is put on them is released little by little, so that a change after many quiet
    images finds money that has not been lost in the meantime: of 1, what is left after k images is 1 / log2(k + 2).

    Scores are rounded to 1,024 levels on a scale that a fifth of the scores at the start sets, chosen at random; these
    are not ranked among. So memory and time are the same for every image.

    Args:
        start: (n,) finite scores, in any order, exchangeable with those that follow while nothing changes.
        level: of false alarms, in (0, 1).
        seed: of all that is random, image by image: the same scores give the same evidence, also after `from_json`.
        rank_among_start: whether the start is ranked among; else it only sets the levels.

    Attributes:
        level: of false alarms.
        seen: images so far.
        changed_at: number of the image, from 1, at which the evidence sufficed; None before.

    Raises:
        UsageError: a level outside (0, 1).
        DataError: no scores to start with, or non-finite ones.

    >>> rng = np.random.default_rng(0)
    >>> test = DriftTest(rng.normal(size=100))
    >>> test.see(rng.normal(size=1000)), test.see(rng.normal(2, size=100))
    (False, True)
    >>> 1000 < test.changed_at < 1050
    True
    """

    def __init__(self, start: ArrayLike, level: float = 0.01, seed: int = 0, *, rank_among_start: bool = True) -> None:
        if not 0 < level < 1:
            raise UsageError(f"the level of a drift test is {level}; give one between 0 and 1, such as 0.01")
        scores = finite_vector(start, "scores to start with")
        if not len(scores):
            raise DataError("a drift test has no scores to start with; give at least one, such as calibration scores")
        scores = np.random.default_rng(seed).permutation(scores)
        of_levels = math.ceil(_FOR_LEVELS * len(scores)) if rank_among_start else len(scores)
        low, centre, high = np.quantile(scores[:of_levels], [0.25, 0.5, 0.75])
        self.level, self.seen = level, 0
        self.changed_at: int | None = None
        self._seed, self._centre = seed, float(centre)
        self._scale = max(float(high - low), 1e-6 * abs(self._centre), 1e-12)
        self._counts = np.bincount(self._levels(scores[of_levels:]), minlength=_LEVELS)
        self._log_capital = np.full(len(_BETS), -np.inf)

    @classmethod
    def of(cls, decision: Decision, level: float = 0.01, seed: int = 0) -> Self:
        """The test that begins with a model's calibration scores.

        They are ranked among where images were held out one by one. Where they come in groups, or were scored by other
        fits than new images are (`Decision.crossed`), or were all raised to one value since they differed by rounding
        alone, they are not exchangeable with new ones: these are then compared with the earlier new ones alone.
        """
        alone = decision.groups is None and not decision.crossed and np.ptp(decision.calibration) > 0
        return cls(decision.calibration, level, seed, rank_among_start=bool(alone))

    @property
    def log10_evidence(self) -> float:
        """Decimal logarithm of the capital: 2 stands for a hundred times the stake."""
        left = math.log(1 / math.log2(self.seen + 2))
        return float(np.logaddexp.reduce([*self._log_capital, left])) / math.log(10)

    @property
    def changed(self) -> bool:
        """Whether the evidence has sufficed at some time."""
        return self.changed_at is not None

    def see(self, scores: ArrayLike) -> bool:
        """Take in scores, one after the other.

        Args:
            scores: (m,) finite, in the order in which they came.

        Returns:
            Whether the scores have changed, by now.

        Raises:
            DataError: non-finite scores; none of them is taken in.
        """
        for found in self._levels(finite_vector(scores, "scores")):
            self._bet(self._p_value(int(found)))
            self._counts[found] += 1
            if self.changed_at is None and self.log10_evidence >= -math.log10(self.level):
                self.changed_at = self.seen
        return self.changed

    def to_json(self) -> str:
        """All of it, to be kept."""
        facts = {
            "level": self.level,
            "seed": self._seed,
            "seen": self.seen,
            "changed_at": self.changed_at,
            "centre": self._centre,
            "scale": self._scale,
            "counts": self._counts.tolist(),
            "log_capital": [None if value == -np.inf else value for value in self._log_capital.tolist()],
        }
        return json.dumps(facts, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave; goes on as if it had never been away. Raises `DataError` for anything else."""
        try:
            facts: dict[str, Any] = json.loads(text)
            test = cls([facts["centre"]], facts["level"], facts["seed"])
            test.seen, test.changed_at = facts["seen"], facts["changed_at"]
            test._scale = facts["scale"]
            test._counts = np.array(facts["counts"], dtype=np.int64)
            test._log_capital = np.array([-np.inf if each is None else each for each in facts["log_capital"]])
            if test._counts.shape != (_LEVELS,) or test._log_capital.shape != (len(_BETS),):
                raise ValueError("other numbers of levels or bets")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"what was kept of a drift test cannot be read ({error}); begin another") from error
        return test

    def _levels(self, scores: NDArray[Any]) -> NDArray[np.int64]:
        """Levels in [0, 1023]: fine in the middle, coarse far out."""
        away = (scores.astype(np.float64) - self._centre) / self._scale
        shares = 0.5 + 0.5 * away / (1 + np.abs(away))
        levels: NDArray[np.int64] = np.minimum(_LEVELS * shares, _LEVELS - 1).astype(np.int64)
        return levels

    def _p_value(self, level: int) -> float:
        """The share of scores at least so high, this one among them; ties, itself included, count by a random share."""
        higher, same = int(self._counts[level + 1 :].sum()), int(self._counts[level]) + 1
        share = np.random.default_rng((self._seed, self.seen)).random()
        return float((higher + share * same) / (self._counts.sum() + 1))

    def _bet(self, p_value: float) -> None:
        self.seen += 1
        p = min(max(p_value, _EDGE), 1 - _EDGE)
        before, after = math.log2(self.seen + 1), math.log2(self.seen + 2)
        released = math.log1p(1 / (self.seen + 1)) / math.log(2) / (before * after)  # 1 / before - 1 / after
        stakes = np.logaddexp(self._log_capital, math.log(released / len(_BETS)))
        self._log_capital = stakes + _LOG_NORMS + (_BETS - 1) @ [math.log(p), math.log1p(-p)]
