"""The drift test: its p-values are uniform, its capital is fair, and it sees changes late as well as early."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from amiss.calibration import Decision, DriftTest
from amiss.calibration.drift import _BETS, _LOG_NORMS
from amiss.errors import DataError, UsageError

finite = st.floats(-1e6, 1e6, width=32)


class Recorded(DriftTest):
    """Keeps the p-values that were bet on."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.bet_on: list[float] = []

    def _bet(self, p_value: float) -> None:
        self.bet_on.append(p_value)
        super()._bet(p_value)


@pytest.mark.parametrize("draw", ["continuous", "few values", "heavy tails"])
def test_p_values_of_exchangeable_scores_are_uniform_and_independent(draw: str) -> None:
    rng = np.random.default_rng(1)
    scores = {
        "continuous": lambda n: rng.normal(size=n),
        "few values": lambda n: rng.integers(0, 3, size=n),
        "heavy tails": lambda n: rng.standard_cauchy(n) * 1e3,
    }[draw]
    test = Recorded(scores(60))
    test.see(scores(3000))
    assert stats.kstest(test.bet_on, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(test.bet_on[:-1], test.bet_on[1:])[0, 1]) < 0.06


def test_bets_are_densities() -> None:
    points = np.linspace(0.01, 0.99, 99)
    for (a, b), norm in zip(_BETS, _LOG_NORMS, strict=True):
        ours = np.exp(norm + (a - 1) * np.log(points) + (b - 1) * np.log1p(-points))
        np.testing.assert_allclose(ours, stats.beta(a, b).pdf(points), rtol=1e-9)


def test_the_capital_is_that_of_a_mixture_over_beginnings() -> None:
    """Worked out anew: for every beginning and every bet a product of its own, weighed by what was released then."""
    rng = np.random.default_rng(2)
    test = Recorded(rng.normal(size=30))
    test.see(rng.normal(0.5, size=40))
    left = [1 / math.log2(k + 2) for k in range(41)]
    total = left[-1]
    for begin in range(40):
        for a, b in _BETS:
            total += (left[begin] - left[begin + 1]) / len(_BETS) * np.prod(stats.beta(a, b).pdf(test.bet_on[begin:]))
    assert test.log10_evidence == pytest.approx(math.log10(total), rel=1e-9)


def test_false_alarms_are_no_more_than_the_level() -> None:
    """With one in five allowed: more than one in three of sixty would be by chance in one of two hundred trials."""
    rng = np.random.default_rng(3)
    alarms = sum(DriftTest(rng.normal(size=50), 0.2, seed).see(rng.normal(size=200)) for seed in range(60))
    assert alarms <= stats.binom.ppf(0.995, 60, 0.2)


@pytest.mark.parametrize(("name", "change"), [
    ("higher", lambda x: x + 1.5), ("lower", lambda x: x - 1.5), ("wider", lambda x: 4 * x),
    ("narrower", lambda x: x / 10), ("all alike", lambda x: 0 * x), ("far out", lambda x: x + 1e30),
])  # fmt: skip
@pytest.mark.parametrize("quiet", [0, 2000])
def test_changes_are_seen(name: str, change: object, quiet: int) -> None:
    rng = np.random.default_rng(4)
    test = DriftTest(rng.normal(size=100))
    assert not test.see(rng.normal(size=quiet))
    assert test.see(change(rng.normal(size=300)))  # type: ignore[operator]
    assert test.changed_at is not None
    assert test.changed_at > quiet
    test.see(rng.normal(size=500))
    assert test.changed  # once said, it stays said


@settings(max_examples=40, deadline=None)
@given(
    start=st.lists(finite, min_size=1, max_size=30),
    scores=st.lists(finite, max_size=60),
    cut=st.integers(0, 60),
    seed=st.integers(0, 2**32),
)
def test_going_on_from_what_was_kept_is_the_same(start: list[float], scores: list[float], cut: int, seed: int) -> None:
    whole, parts = (DriftTest(start, seed=seed) for _ in range(2))
    whole.see(scores)
    parts.see(scores[:cut])
    parts = DriftTest.from_json(parts.to_json())
    parts.see(scores[cut:])
    assert parts.to_json() == whole.to_json()
    assert math.isfinite(whole.log10_evidence)
    assert whole.seen == len(scores)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=20, max_size=60), st.integers(-10, 10))
def test_the_unit_of_scores_does_not_matter(scores: list[int], power: int) -> None:
    values = np.array(scores, dtype=np.float64)
    one, other = DriftTest(values), DriftTest(values * 2.0**power)  # powers of two are exact
    assume(json.loads(one.to_json())["scale"] >= 1)
    one.see(values)
    other.see(values * 2.0**power)
    assert other.log10_evidence == one.log10_evidence


def test_where_calibration_scores_are_of_other_fits_new_images_are_compared_with_each_other() -> None:
    rng = np.random.default_rng(5)
    calibration = rng.normal(3, size=100).astype(np.float32)
    images = rng.normal(size=500)
    assert DriftTest.of(Decision(calibration, 0.01)).see(images)
    assert not DriftTest.of(Decision(calibration, 0.01, crossed=True)).see(images)
    assert not DriftTest.of(Decision(calibration, 0.01, groups=5)).see(images)


def test_what_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        DriftTest([1.0], 1.5)
    with pytest.raises(DataError, match="no scores to start with"):
        DriftTest([])
    test = DriftTest([1.0, 2.0])
    with pytest.raises(DataError):
        test.see([1.0, math.nan])
    assert test.seen == 0
    kept = json.loads(test.to_json())
    for broken in ("", "[]", json.dumps({**kept, "counts": [1]}), json.dumps({**kept, "level": "high"})):
        with pytest.raises(DataError, match="cannot be read"):
            DriftTest.from_json(broken)
