from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amiss.errors import DataError, UsageError
from amiss.metrics import Interval, bootstrap, wilson


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: float(weights @ values / weights.sum())


def test_intervals_cover_a_known_mean() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(400):
        values = rng.normal(3.0, 2.0, size=60)
        interval = bootstrap(mean_of(values), [False] * 60, repeats=300, seed=seed)
        covered += interval.low <= 3.0 <= interval.high
    assert 0.90 <= covered / 400 <= 0.985  # 95 % give or take four standard errors


def test_intervals_of_grouped_images_cover_only_with_their_groups() -> None:
    rng = np.random.default_rng(2)
    groups = [f"item {index // 6}" for index in range(240)]
    with_groups = without = 0
    for seed in range(150):
        values = np.repeat(rng.normal(size=40), 6) + 0.1 * rng.normal(size=240)
        interval = bootstrap(mean_of(values), [False] * 240, groups, repeats=200, seed=seed)
        with_groups += interval.low <= 0 <= interval.high
        interval = bootstrap(mean_of(values), [False] * 240, repeats=200, seed=seed)
        without += interval.low <= 0 <= interval.high
    assert with_groups / 150 >= 0.87
    assert without / 150 <= 0.75


def test_level_is_kept() -> None:
    values = np.random.default_rng(3).normal(size=400)
    interval = bootstrap(mean_of(values), [False] * 400, repeats=4000, level=0.8)
    spread = stats.norm.ppf(0.9) * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - spread, abs=0.1 * spread)
    assert interval.high == pytest.approx(values.mean() + spread, abs=0.1 * spread)


def test_without_groups_each_class_keeps_its_size() -> None:
    labels = np.array([False] * 5 + [True] * 3)
    drawn = []

    def measure(weights: np.ndarray) -> float:
        drawn.append(weights.copy())
        return 0.0

    bootstrap(measure, labels, repeats=50)
    assert len(drawn) == 51
    assert all(weights[labels].sum() == 3 and weights[~labels].sum() == 5 for weights in drawn)
    assert len({tuple(weights) for weights in drawn}) > 25


def test_groups_are_drawn_whole_and_both_classes_stay() -> None:
    labels = np.array([False, False, True, True, False, True])
    groups = ["a", "a", "b", "b", None, None]
    drawn = []

    def measure(weights: np.ndarray) -> float:
        drawn.append(weights.copy())
        return 0.0

    bootstrap(measure, labels, groups, repeats=300)
    resamples = np.array(drawn)
    np.testing.assert_array_equal(resamples[:, 0], resamples[:, 1])
    np.testing.assert_array_equal(resamples[:, 2], resamples[:, 3])
    np.testing.assert_array_equal(resamples[:, [0, 2, 4, 5]].sum(axis=1), 4)  # as many groups as there are
    assert (resamples[:, 4] != resamples[:, 5]).any()  # None does not join images
    assert resamples[:, labels].any(axis=1).all()
    assert resamples[:, ~labels].any(axis=1).all()


def test_many_measures_are_taken_from_the_same_resamples() -> None:
    values = np.arange(20.0)
    mean = mean_of(values)
    labels = [False] * 12 + [True] * 8
    many = bootstrap(lambda weights: {"mean": mean(weights), "twice": 2 * mean(weights)}, labels, repeats=100)
    assert many["mean"] == bootstrap(mean, labels, repeats=100)
    assert many["twice"].low == pytest.approx(2 * many["mean"].low)
    assert many["mean"].value == values.mean()


def test_the_seed_chooses_the_resamples() -> None:
    mean, labels = mean_of(np.random.default_rng(0).normal(size=30)), [True] * 30
    assert bootstrap(mean, labels, seed=4) == bootstrap(mean, labels, seed=4)
    assert bootstrap(mean, labels, seed=4) != bootstrap(mean, labels, seed=5)


def test_undefined_resamples_are_left_out() -> None:
    nothing = bootstrap(lambda weights: float("nan"), [True, False], repeats=5)
    assert nothing.as_dict() == {"value": None, "low": None, "high": None}
    partly = bootstrap(lambda weights: 1.0 if weights[0] == 1 else float("nan"), [True, True], repeats=50)
    assert partly == Interval(1.0, 1.0, 1.0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="repeats is 0"):
        bootstrap(lambda weights: 0.0, [True], repeats=0)
    with pytest.raises(UsageError, match="level"):
        bootstrap(lambda weights: 0.0, [True], level=95)
    with pytest.raises(DataError, match="no images"):
        bootstrap(lambda weights: 0.0, [])
    with pytest.raises(DataError, match="1 groups for 2 labels"):
        bootstrap(lambda weights: 0.0, [True, False], groups=["a"])


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_matches_scipy(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    interval = wilson(successes, n, level)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert interval.value == successes / n
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_wilson_at_its_ends() -> None:
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0
    assert all(math.isnan(end) for end in (wilson(0, 0).value, wilson(0, 0).low, wilson(0, 0).high))
    for successes, n in ((-1, 5), (6, 5)):
        with pytest.raises(UsageError, match="no share"):
            wilson(successes, n)
