"""Thresholds chosen with the labels of the test images: oracles, for comparison with the literature only.

No detector may decide by them: whoever uses them has seen the answers. Here flagged means score >= threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..metrics.ranking import Ranking


def geometric_mean_threshold(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Oracle: the threshold with the largest geometric mean of TPR and 1 - FPR, and that mean.

    Source: RAVI thesis, equation 3.21.

    Args:
        scores: (n,) finite, higher = more anomalous.
        labels: (n,) bool, True = anomalous.

    Returns:
        The threshold, which is one of the scores (the highest of equally good ones), and sqrt(TPR (1 - FPR)) in [0, 1].

    Raises:
        DataError: non-finite scores, shapes that do not fit, or only one class.

    >>> geometric_mean_threshold([0.1, 0.2, 0.7, 0.9], [False, False, True, True])
    (0.7, 1.0)
    """
    ranking = _both_classes(scores, labels)
    fpr, tpr, _ = ranking.roc()
    return _best(ranking, np.sqrt(tpr * (1 - fpr)))


def best_f1_threshold(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Oracle: the threshold with the largest F1, and that F1.

    Args:
        scores: (n,) finite, higher = more anomalous.
        labels: (n,) bool, True = anomalous.

    Returns:
        The threshold, which is one of the scores (the highest of equally good ones), and F1 in (0, 1].

    Raises:
        DataError: non-finite scores, shapes that do not fit, or only one class.

    >>> best_f1_threshold([3.0, 2.0, 1.0], [True, False, True])
    (1.0, 0.8)
    """
    ranking = _both_classes(scores, labels)
    hits, alarms = ranking.counts()
    return _best(ranking, 2 * hits / (hits + alarms + hits[-1]))


def _both_classes(scores: ArrayLike, labels: ArrayLike) -> Ranking:
    ranking = Ranking(scores, labels)
    hits, alarms = ranking.counts()
    if not (hits[-1] and alarms[-1]):
        raise DataError(
            f"a threshold cannot be chosen from {alarms[-1]:.0f} normal and {hits[-1]:.0f} anomalous images; "
            "give at least one of each"
        )
    return ranking


def _best(ranking: Ranking, values: NDArray[np.float64]) -> tuple[float, float]:
    # The first threshold is infinite, flags nothing and is never better than another: leave it out.
    index = 1 + int(np.argmax(values[1:]))
    return float(ranking.thresholds[index]), float(values[index])
