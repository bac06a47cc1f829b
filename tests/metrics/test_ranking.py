from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score, roc_curve

from amiss.errors import DataError
from amiss.metrics import Ranking, confusion_metrics

Case = tuple[np.ndarray, np.ndarray]
NAMES = {"auroc", "aupr", "eer", "best_f1"}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(2, 50))
    widest = draw(st.sampled_from([1, 4, 1000]))  # from many ties to hardly any
    scores = draw(st.lists(st.integers(-widest, widest), min_size=n, max_size=n))
    labels = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda flags: len(set(flags)) == 2))
    return np.array(scores, dtype=np.float64), np.array(labels)


def weights_for(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 3, size=n)


@given(cases())
def test_auroc_and_aupr_match_sklearn(case: Case) -> None:
    scores, labels = case
    ranking = Ranking(scores, labels)
    assert ranking.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert ranking.aupr() == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@given(cases(), st.integers(0, 100))
def test_weighted_auroc_and_aupr_match_sklearn(case: Case, seed: int) -> None:
    scores, labels = case
    weights = weights_for(len(scores), seed)
    ranking = Ranking(scores, labels)
    assert ranking.auroc(weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-9)
    assert ranking.aupr(weights) == pytest.approx(
        average_precision_score(labels, scores, sample_weight=weights), abs=1e-9
    )


@given(cases())
def test_auroc_is_the_share_of_pairs_in_order(case: Case) -> None:
    scores, labels = case
    pairs = scores[labels][:, None] - scores[~labels][None, :]
    assert Ranking(scores, labels).auroc() == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)), abs=1e-12)


@given(cases())
def test_measures_do_not_change_under_rising_maps(case: Case) -> None:
    scores, labels = case
    before = Ranking(scores, labels).measures()
    for mapped in (scores**3, np.exp(scores / 100), 5 * scores - 1e6):
        assert Ranking(mapped, labels).measures() == before


@given(cases())
def test_falling_maps_turn_auroc_and_eer_around(case: Case) -> None:
    scores, labels = case
    ranking, turned = Ranking(scores, labels), Ranking(-scores, labels)
    assert turned.auroc() == pytest.approx(1 - ranking.auroc(), abs=1e-12)
    assert turned.eer() == pytest.approx(1 - ranking.eer(), abs=1e-12)


@given(cases(), st.integers(0, 1000))
def test_weights_equal_repeated_items(case: Case, seed: int) -> None:
    scores, labels = case
    times = np.random.default_rng(seed).integers(0, 4, size=len(scores))
    weighted = Ranking(scores, labels).measures(times)
    repeated = Ranking(np.repeat(scores, times), np.repeat(labels, times)).measures()
    assert weighted == pytest.approx(repeated, abs=1e-12, nan_ok=True)
    flagged = scores > 0
    assert confusion_metrics(flagged, labels, times) == pytest.approx(
        confusion_metrics(np.repeat(flagged, times), np.repeat(labels, times)), abs=1e-12, nan_ok=True
    )


@given(cases())
def test_eer_is_where_sklearns_roc_crosses_the_diagonal(case: Case) -> None:
    scores, labels = case
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    crossing = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1, xtol=1e-12)
    assert Ranking(scores, labels).eer() == pytest.approx(crossing, abs=1e-9)


@given(cases(), st.integers(0, 100))
def test_eer_lies_between_the_errors_at_every_threshold(case: Case, seed: int) -> None:
    scores, labels = case
    weights = weights_for(len(scores), seed)
    ranking = Ranking(scores, labels)
    hits, alarms = ranking.counts(weights)
    fpr, fnr = alarms / alarms[-1], 1 - hits / hits[-1]
    assert np.minimum(fpr, fnr).max() - 1e-12 <= ranking.eer(weights) <= np.maximum(fpr, fnr).min() + 1e-12


@given(cases())
def test_best_f1_is_the_largest_of_all_thresholds(case: Case) -> None:
    scores, labels = case
    expected = max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
    assert Ranking(scores, labels).best_f1() == pytest.approx(expected, abs=1e-12)


@given(cases())
def test_roc_matches_sklearn(case: Case) -> None:
    scores, labels = case
    for ours, theirs in zip(
        Ranking(scores, labels).roc(), roc_curve(labels, scores, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(cases(), st.integers(0, 100))
def test_measures_are_the_single_measures(case: Case, seed: int) -> None:
    ranking, weights = Ranking(*case), weights_for(len(case[0]), seed)
    measures = ranking.measures(weights)
    assert set(measures) == NAMES
    assert all(0 <= value <= 1 for value in measures.values())
    assert all(getattr(ranking, name)(weights) == value for name, value in measures.items())


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_class_gives_nan(labels: list[bool]) -> None:
    assert all(math.isnan(value) for value in Ranking([1.0, 2.0], labels).measures().values())


def test_a_class_without_weight_gives_nan() -> None:
    assert all(math.isnan(value) for value in Ranking([1.0, 2.0], [False, True]).measures([1.0, 0.0]).values())
    assert set(Ranking([], []).measures()) == NAMES
    assert math.isnan(Ranking([], []).auroc())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_scores_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="position 2"):
        Ranking([1.0, 2.0, bad], [True, False, True])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="labels have the shape"):
        Ranking([1.0, 2.0], [True])
    with pytest.raises(DataError, match="other values"):
        Ranking([1.0, 2.0], [1, 2])
    with pytest.raises(DataError, match="not all numbers"):
        Ranking(["high", "low"], [True, False])
    ranking = Ranking([1.0, 2.0], [True, False])
    with pytest.raises(DataError, match="negative"):
        ranking.auroc([1.0, -1.0])
    with pytest.raises(DataError, match="3 weights for 2"):
        ranking.auroc([1.0, 1.0, 1.0])


@given(cases(), st.integers(0, 100))
def test_confusion_metrics_match_sklearn(case: Case, seed: int) -> None:
    scores, labels = case
    flagged, weights = scores > 0, weights_for(len(scores), seed)
    expected = {
        name: score(labels, flagged, sample_weight=weights, zero_division=0)
        for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score))
    }
    assert confusion_metrics(flagged, labels, weights) == pytest.approx(expected, abs=1e-12)


def test_confusion_metrics_where_there_is_nothing_to_divide_by() -> None:
    assert confusion_metrics([False, False], [True, False]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    nothing = confusion_metrics([True, False], [False, False])
    assert (nothing["f1"], nothing["precision"]) == (0.0, 0.0)
    assert math.isnan(nothing["recall"])
