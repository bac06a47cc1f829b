from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from amiss.calibration.thresholds import best_f1_threshold, geometric_mean_threshold
from amiss.errors import DataError

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(2, 40))
    scores = draw(st.lists(st.integers(-6, 6), min_size=n, max_size=n))
    labels = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda flags: len(set(flags)) == 2))
    return np.array(scores, dtype=np.float32), np.array(labels)


def geometric_mean(flagged: np.ndarray, labels: np.ndarray) -> float:
    return float(np.sqrt(flagged[labels].mean() * (1 - flagged[~labels].mean())))


def f1(flagged: np.ndarray, labels: np.ndarray) -> float:
    return float(f1_score(labels, flagged, zero_division=0))


@pytest.mark.parametrize(("choose", "measure"), [(geometric_mean_threshold, geometric_mean), (best_f1_threshold, f1)])
@given(case=cases())
def test_no_threshold_is_better(
    choose: Callable[..., tuple[float, float]], measure: Callable[..., float], case: Case
) -> None:
    scores, labels = case
    threshold, value = choose(scores, labels)
    by_threshold = {float(score): measure(scores >= score, labels) for score in np.unique(scores)}
    assert value == pytest.approx(max(by_threshold.values()), abs=1e-12)
    assert by_threshold[threshold] == pytest.approx(value, abs=1e-12)


def test_the_highest_of_equally_good_thresholds_is_chosen() -> None:
    assert geometric_mean_threshold([3.0, 2.0, 1.0, 0.0], [True, False, True, False]) == (3.0, pytest.approx(0.5**0.5))


def test_thresholds_are_finite_even_where_nothing_helps() -> None:
    assert geometric_mean_threshold([2.0, 1.0], [False, True]) == (2.0, 0.0)


@pytest.mark.parametrize("choose", [geometric_mean_threshold, best_f1_threshold])
def test_one_class_is_refused(choose: Callable[..., tuple[float, float]]) -> None:
    with pytest.raises(DataError, match="2 normal and 0 anomalous"):
        choose([1.0, 2.0], [False, False])
    with pytest.raises(DataError, match="0 normal and 1 anomalous"):
        choose([1.0], [True])
