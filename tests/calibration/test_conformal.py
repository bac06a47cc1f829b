from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amiss.calibration import Decision, largest_of_groups, p_values
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
    assert Decision(normals(200), 0.01).explain() == (
        "On average at most 1 % of normal images are flagged, provided that they are like the 200 held-out normal "
        "images that set the threshold. With 95 % confidence, this threshold flags at most 2.35 % in the long run."
    )


def test_explain_says_what_is_missing() -> None:
    text = Decision(normals(39), 0.01).explain()
    assert text.startswith("39 held-out normal images are too few")
    assert "1 %" in text
    assert "99" in text
    assert "2.5 %" in text
    assert text.endswith("With 95 % confidence, this threshold flags at most 7.39 % in the long run.")


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


# -- what one calibration set guarantees -------------------------------------------------------------------------------


@given(st.integers(1, 100_000), st.floats(1e-6, 0.999), st.floats(0.05, 0.999))
def test_upper_rate_is_the_quantile_of_a_beta_law(n: int, alpha: float, confidence: float) -> None:
    decision = Decision(np.zeros(n, dtype=np.float32), alpha)
    found = decision.upper_rate(confidence)
    assert found == pytest.approx(stats.beta.ppf(confidence, decision.rank, n + 1 - decision.rank), rel=1e-7)


@pytest.mark.parametrize(("n", "alpha"), [(99, 0.01), (150, 0.02), (40, 0.1), (5, 0.01)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_of_calibration_sets_as_many_as_said_keep_the_upper_rate(n: int, alpha: float, confidence: float) -> None:
    """Of uniform scores, the share above a threshold is known: no set of new images is needed."""
    sets = 4000
    draws = np.random.default_rng(n).random((sets, n)).astype(np.float32)
    upper = Decision(draws[0], alpha).upper_rate(confidence)
    assert upper is not None
    kept = np.mean([1 - Decision(draw, alpha).threshold <= upper for draw in draws])
    assert abs(kept - confidence) <= 4 * math.sqrt(confidence * (1 - confidence) / sets)


def test_ties_keep_the_upper_rate_more_often() -> None:
    draws = np.random.default_rng(0).integers(0, 10, (4000, 60)).astype(np.float32)
    upper = Decision(draws[0], 0.15).upper_rate(0.9)
    assert upper is not None
    kept = np.mean([(9 - Decision(draw, 0.15).threshold) / 10 <= upper for draw in draws])
    assert kept >= 0.9


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_confidences_outside_zero_and_one_are_refused(confidence: float) -> None:
    with pytest.raises(UsageError, match="confidence"):
        Decision(normals(10), 0.1).upper_rate(confidence)


# -- groups of related images ------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-100, 100, width=32), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_largest_of_groups(pairs: list[tuple[float, str]]) -> None:
    expected: dict[str, float] = {}
    for score, group in pairs:
        expected[group] = max(score, expected.get(group, -math.inf))
    found = largest_of_groups(np.array([score for score, _ in pairs], np.float32), [group for _, group in pairs])
    assert found.dtype == np.float32
    assert found.tolist() == list(expected.values())


def items(rng: np.random.Generator, count: int, spread: float) -> list[np.ndarray]:
    """Scores of the images of each item, one to eight of them: what the item adds, and what the image does."""
    sizes = rng.integers(1, 9, count)
    return [(spread * rng.normal() + rng.normal(size=size)).astype(np.float32) for size in sizes]


def of_items(drawn: list[np.ndarray], alpha: float) -> Decision:
    names = [str(number) for number, scores in enumerate(drawn) for _ in scores]
    scores = np.concatenate(drawn)
    return Decision(scores, alpha, len(drawn), largest=largest_of_groups(scores, names))


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
@pytest.mark.parametrize(("count", "alpha"), [(19, 0.05), (45, 0.1)])
def test_of_new_items_no_more_than_promised_have_any_flagged_image(count: int, alpha: float, spread: float) -> None:
    rng, trials, new = np.random.default_rng(count), 1500, 4
    flagged, images = [], []
    for _ in range(trials):
        decision = of_items(items(rng, count, spread), alpha)
        assert decision.guaranteed
        assert decision.by_group
        flags = [decision.is_anomaly(scores) for scores in items(rng, new, spread)]
        flagged.append(np.mean([each.any() for each in flags]))
        images.append(np.mean([each.mean() for each in flags]))
    expected = math.floor(alpha * (count + 1) + 1e-9) / (count + 1)
    error = 4 * float(np.std(flagged)) / math.sqrt(trials)
    assert abs(np.mean(flagged) - expected) <= error
    assert np.mean(flagged) <= alpha + error
    assert np.mean(images) <= np.mean(flagged)


def test_single_scores_of_related_images_would_not_keep_a_promise_over_items() -> None:
    """Why nothing is promised without the groups: at the same rate, many more items have a flagged image."""
    rng = np.random.default_rng(0)
    flagged = []
    for _ in range(300):
        decision = Decision(np.concatenate(items(rng, 45, 1.0)), 0.1, groups=45)
        assert not decision.guaranteed
        flagged.append(np.mean([decision.is_anomaly(scores).any() for scores in items(rng, 4, 1.0)]))
    assert np.mean(flagged) > 0.15


@given(rates, st.integers(1, 40), st.integers(0, 9))
def test_flags_are_small_p_values_over_groups_too(alpha: float, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    decision = of_items(items(rng, count, 1.0), alpha)
    assert decision.guaranteed == decision.by_group == (count >= decision.images_needed)
    scores = rng.normal(scale=3, size=30).astype(np.float32)
    if decision.guaranteed:
        np.testing.assert_array_equal(decision.is_anomaly(scores), decision.p_values(scores) <= alpha + 1e-12)
        assert decision.n == count
        assert decision.upper_rate() == pytest.approx(stats.beta.ppf(0.95, decision.rank, count + 1 - decision.rank))
    else:  # as where groups are not known
        alone = Decision(decision.calibration, alpha, count)
        assert (decision.threshold, decision.n) == (alone.threshold, alone.n)
        np.testing.assert_array_equal(decision.p_values(scores), alone.p_values(scores))
        assert decision.upper_rate() is alone.upper_rate() is None
    assert decision.attainable_rate == 1 / (count + 1)


def test_p_values_over_groups_are_conservative_for_single_images() -> None:
    rng = np.random.default_rng(3)
    p = [of_items(items(rng, 19, 1.0), 0.1).p_values(items(rng, 1, 1.0)[0][:1])[0] for _ in range(2000)]
    for alpha in (0.05, 0.2, 0.5, 0.8):
        assert np.mean(np.array(p) <= alpha) <= alpha


def test_events_last_by_the_draws_that_begin_them() -> None:
    """Thirty groups are too few for 1 %, and enough for five times as much."""
    decision = of_items(items(np.random.default_rng(1), 30, 1.0), 0.01)
    begins, lasts = decision.event_thresholds()
    assert lasts <= begins == decision.threshold


def test_explain_speaks_of_groups() -> None:
    drawn = items(np.random.default_rng(0), 16, 1.0)
    assert of_items(drawn, 0.1).explain() == (
        "On average at most 10 % of normal groups of related images have any flagged image, provided that they are "
        "like the 16 held-out normal groups that set the threshold, each by its largest score. With 95 % confidence, "
        "this threshold flags at most 17.1 % of groups in the long run."
    )
    n = sum(map(len, drawn))
    assert of_items(drawn, 0.01).explain() == (
        f"No false-alarm rate is promised, because the {n} held-out normal images come in only 16 groups of related "
        "pictures. A rate of 1 % takes 99 groups, and 16 can promise 5.88 % at the lowest. Expect roughly 1 %, and "
        "measure it on other groups."
    )
    assert Decision(normals(40), 0.01, groups=3, frames=True).explain() == (
        "No false-alarm rate is promised, because the 40 held-out normal frames come in only 3 groups of related "
        "pictures. A rate of 1 % takes 99 videos. Expect roughly 1 %, and measure it on other groups."
    )


def test_plain_values_are_what_the_decision_says() -> None:
    decision = Decision(normals(40), 0.1)
    found = decision.to_dict()
    for name in ("false_alarm_rate", "threshold", "guaranteed", "by_group", "attainable_rate", "images_needed"):
        assert found[name] == getattr(decision, name)
    assert found["upper_rate"] == decision.upper_rate(found["confidence"])
    assert Decision(normals(40), 0.1, groups=30).to_dict()["upper_rate"] is None


def test_the_chance_of_false_alarms_is_that_of_a_beta_binomial() -> None:
    for n, alpha, flagged, of in ((99, 0.01, 3, 50), (150, 0.1, 20, 80), (20, 0.01, 1, 7), (999, 0.05, 70, 900)):
        decision = Decision(np.arange(n, dtype=np.float32), alpha)
        k = decision.rank
        expected = stats.betabinom(of, k, n + 1 - k).sf(flagged - 1)
        assert decision.chance(flagged, of) == pytest.approx(expected, rel=1e-6)
    assert Decision(np.arange(9, dtype=np.float32), 0.1, groups=3).chance(1, 1) is None
