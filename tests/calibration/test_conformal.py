from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amiss.calibration import Decision, p_values
from amiss.errors import DataError, UsageError

coarse = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60)  # few values: many ties
rates = st.one_of(st.floats(0.001, 0.999), st.sampled_from([0.01, 0.02, 0.05, 0.07, 0.1, 0.2, 0.29, 0.5]))


def normals(n: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=n).astype(np.float32)


@given(coarse, coarse)
def test_p_values_count_the_calibration_scores_at_least_as_high(scores: list[float], calibration: list[float]) -> None:
    expected = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
    assert p_values(scores, calibration).tolist() == expected


def test_p_values_are_float64_and_do_not_depend_on_the_order_of_calibration() -> None:
    calibration = normals(50)
    scores = normals(20)[::-1]
    given_order = p_values(scores, calibration)
    assert given_order.dtype == np.float64
    np.testing.assert_array_equal(given_order, p_values(scores, np.sort(calibration)))


def test_p_values_of_exchangeable_scores_are_uniform() -> None:
    rng, n = np.random.default_rng(0), 9
    p = np.array([p_values(draw[:1], draw[1:])[0] for draw in rng.exponential(size=(5000, n + 1))])
    counts = np.bincount(np.rint(p * (n + 1)).astype(int), minlength=n + 2)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("n", "alpha"), [(99, 0.01), (150, 0.01), (19, 0.05), (40, 0.1), (10, 0.25), (60, 0.5), (5, 0.01)]
)
def test_false_alarm_rate_over_random_splits(n: int, alpha: float) -> None:
    trials = 20_000
    draws = np.random.default_rng(n).gamma(2.0, size=(trials, n + 1)).astype(np.float32)
    flagged = np.mean([Decision(draw[1:], alpha).is_anomaly(draw[:1])[0] for draw in draws])
    expected = max(1, math.floor(alpha * (n + 1) + 1e-9)) / (n + 1)
    error = 4 * math.sqrt(expected * (1 - expected) / trials)
    assert abs(flagged - expected) <= error
    if Decision(draws[0, 1:], alpha).guaranteed:
        assert flagged <= alpha + error


@given(coarse, coarse, rates)
def test_is_anomaly_equals_p_at_most_alpha_where_guaranteed(
    scores: list[float], calibration: list[float], alpha: float
) -> None:
    decision = Decision(np.array(calibration, dtype=np.float32), alpha)
    flagged = decision.is_anomaly(scores)
    assert flagged.dtype == np.bool_
    if decision.guaranteed:
        np.testing.assert_array_equal(flagged, decision.p_values(scores) <= alpha + 1e-12)
    else:
        assert not (decision.p_values(scores) <= alpha).any()
        np.testing.assert_array_equal(flagged, np.array(scores) > max(calibration))


@given(st.integers(1, 400), st.integers(1, 400))
def test_is_anomaly_at_rates_that_are_exactly_attained(k: int, n: int) -> None:
    k = min(k, n)
    decision = Decision(np.arange(n, dtype=np.float32), k / (n + 1))
    assert decision.rank == k
    assert decision.guaranteed
    assert decision.threshold == n - k


@pytest.mark.parametrize("percent", range(1, 100))
def test_images_needed_is_the_exact_ceiling(percent: int) -> None:
    exact = max(1, math.ceil(1 / Fraction(percent, 100) - 1))
    decision = Decision(normals(exact), percent / 100)
    assert decision.images_needed == exact
    assert decision.guaranteed
    assert exact == 1 or not Decision(normals(exact - 1), percent / 100).guaranteed


def test_images_needed_in_spite_of_rounding() -> None:
    # 1 / (1 / 49) and its like are not whole numbers in floating point
    assert [Decision(normals(1), 1 / m).images_needed for m in range(2, 1000)] == list(range(1, 999))


@pytest.mark.parametrize("power", range(1, 9))
def test_images_needed_of_small_rates(power: int) -> None:
    assert Decision(normals(1), float(f"1e-{power}")).images_needed == 10**power - 1


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60), rates)
def test_threshold_is_a_calibration_score_of_its_rank(calibration: list[float], alpha: float) -> None:
    decision = Decision(np.array(calibration, dtype=np.float32), alpha)
    assert 1 <= decision.rank <= decision.n == len(calibration)
    assert decision.threshold == sorted(calibration, reverse=True)[decision.rank - 1]
    assert decision.attainable_rate == 1 / (len(calibration) + 1)


def test_rank_stays_within_the_calibration_scores_for_rates_close_to_one() -> None:
    assert Decision(normals(10), 1 - 1e-12).rank == 10


def test_float32_scores_equal_to_the_threshold_are_not_flagged() -> None:
    decision = Decision(normals(120), 0.05)
    assert not decision.is_anomaly(np.array([decision.threshold], dtype=np.float32))[0]
    assert decision.is_anomaly(np.nextafter(np.array([decision.threshold], dtype=np.float32), np.float32(np.inf)))[0]


def test_explain_says_what_is_promised() -> None:
    text = Decision(normals(200), 0.01).explain()
    assert "at most 1 %" in text
    assert "200" in text
    assert text.count(".") == 1


def test_explain_says_what_is_missing() -> None:
    text = Decision(normals(39), 0.01).explain()
    assert text.startswith("39 held-out normal images are too few")
    assert "1 %" in text
    assert "99" in text
    assert "2.5 %" in text


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_rates_outside_zero_and_one_are_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="false-alarm rate"):
        Decision(normals(10), alpha)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_values_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="position 1"):
        p_values([0.0, bad], [1.0])
    with pytest.raises(DataError, match="calibration scores hold"):
        p_values([0.0], [1.0, bad])
    with pytest.raises(DataError):
        Decision(np.array([bad], dtype=np.float32), 0.1)
    with pytest.raises(DataError):
        Decision(normals(10), 0.1).is_anomaly([bad])


def test_empty_or_misshapen_calibration_is_refused() -> None:
    with pytest.raises(DataError, match="no calibration scores"):
        Decision(normals(0), 0.1)
    with pytest.raises(DataError, match="shape"):
        p_values([1.0], [[1.0, 2.0]])


def test_no_scores_give_no_decisions() -> None:
    assert Decision(normals(10), 0.1).is_anomaly([]).shape == (0,)
    assert p_values([], normals(3)).shape == (0,)
