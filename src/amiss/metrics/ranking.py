"""How well scores rank anomalies above normal images, without any threshold; and how well given decisions do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError

Vector = NDArray[np.float64]


def finite_vector(values: ArrayLike, what: str) -> Vector:
    """`values` as (n,) float64; `what` names them in messages.

    Raises:
        DataError: not numbers, not one-dimensional, or not all finite.

    >>> finite_vector([1, 2], "scores")
    array([1., 2.])
    """
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not all numbers ({error}); give one number per image") from error
    if vector.ndim != 1:
        raise DataError(f"{what} have the shape {vector.shape}, not (n,); give one number per image")
    if not np.isfinite(vector).all():
        index = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise DataError(f"{what} hold {vector[index]} at position {index}; leave out what has no finite value")
    return vector


def flags(values: ArrayLike, what: str, n: int | None = None) -> NDArray[np.bool_]:
    """`values` (bool, or 0 and 1) as (n,) bool; `what` names them in messages.

    Raises:
        DataError: anything but true and false, not one-dimensional, or not n of them.

    >>> flags([0, 1, 1], "labels")
    array([False,  True,  True])
    """
    array = np.asarray(values)
    if array.ndim != 1 or (n is not None and len(array) != n):
        wanted = "(n,)" if n is None else f"({n},)"
        raise DataError(f"{what} have the shape {array.shape}, not {wanted}; give one true or false per image")
    if array.dtype != np.bool_ and not all(value in (0, 1) for value in array.tolist()):
        raise DataError(f"{what} hold other values than true and false (or 0 and 1); give True where anomalous")
    return array.astype(np.bool_)


class Ranking:
    """Scores and labels, sorted once so that many weightings of the same images are measured cheaply.

    All measures take optional `weights` (n,): nonnegative, a weight of k counts an image k times. They are in [0, 1],
    and NaN where one of the two classes is absent (or weighs nothing).

    Args:
        scores: (n,) finite, higher = more anomalous.
        labels: (n,) bool, True = anomalous.

    Attributes:
        thresholds: (k + 1,) float64, falling: infinity (nothing is flagged), then the k distinct scores;
            an image is flagged where its score >= the threshold.

    Raises:
        DataError: non-finite scores, shapes that do not fit, or (by the methods) negative or non-finite weights.

    >>> ranking = Ranking([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    >>> ranking.auroc()
    0.75
    >>> ranking.auroc(weights=[1, 0, 1, 1])
    1.0
    """

    def __init__(self, scores: ArrayLike, labels: ArrayLike) -> None:
        values = finite_vector(scores, "scores")
        positive = flags(labels, "labels", len(values))
        self._order = np.argsort(-values, kind="stable")
        falling = values[self._order]
        self._positive = positive[self._order].astype(np.float64)
        self._negative = 1 - self._positive
        # Equal scores are flagged together: only the last image of each group of ties is a point of the curves.
        changes = np.flatnonzero(falling[1:] != falling[:-1])
        self._ends = np.append(changes, len(falling) - 1) if len(falling) else changes
        self.thresholds: Vector = np.concatenate([[np.inf], falling[self._ends]])

    def counts(self, weights: ArrayLike | None = None) -> tuple[Vector, Vector]:
        """Flagged anomalies and flagged normals at each of the `thresholds`: two rising (k + 1,) float64."""
        hits, alarms = self._positive, self._negative
        if weights is not None:
            falling = _checked_weights(weights, len(self._order))[self._order]
            hits, alarms = falling * hits, falling * alarms
        return self._cumulative(hits), self._cumulative(alarms)

    def _cumulative(self, weights: Vector) -> Vector:
        counts = np.zeros(len(self._ends) + 1)
        counts[1:] = np.cumsum(weights)[self._ends]
        return counts

    def roc(self) -> tuple[Vector, Vector, Vector]:
        """False-positive rates, true-positive rates and thresholds, each (k + 1,) float64, from (0, 0) to (1, 1).

        A rate is NaN throughout where its class is absent.

        >>> fpr, tpr, thresholds = Ranking([1, 2, 2], [False, True, True]).roc()
        >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
        ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [inf, 2.0, 1.0])
        """
        hits, alarms = self.counts()
        return _rates(alarms), _rates(hits), self.thresholds.copy()

    def auroc(self, weights: ArrayLike | None = None) -> float:
        """Area under the ROC curve: how often an anomaly scores above a normal image, ties counting one half.

        Source: Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982.

        >>> Ranking([1, 1], [False, True]).auroc()
        0.5
        """
        return self._measure(_auroc, weights)

    def aupr(self, weights: ArrayLike | None = None) -> float:
        """Area under the precision-recall curve as average precision, that is stepwise and never interpolated.

        Source: Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006 (why not linearly).

        >>> Ranking([3, 2, 1], [True, False, True]).aupr()  # (1 + 2 / 3) / 2
        0.8333333333333333
        """
        return self._measure(_aupr, weights)

    def eer(self, weights: ArrayLike | None = None) -> float:
        """Equal error rate: where the ROC curve, joined by lines, has as many false alarms as misses (FPR = 1 - TPR).

        >>> Ranking([1, 1], [False, True]).eer()
        0.5
        """
        return self._measure(_eer, weights)

    def best_f1(self, weights: ArrayLike | None = None) -> float:
        """The largest F1 that any threshold reaches: an oracle, since choosing that threshold takes the labels.

        >>> Ranking([3, 2, 1], [True, False, True]).best_f1()
        0.8
        """
        return self._measure(_best_f1, weights)

    def measures(self, weights: ArrayLike | None = None) -> dict[str, float]:
        """`auroc`, `aupr`, `eer` and `best_f1` at once, which counts only once.

        >>> Ranking([1, 2], [False, True]).measures()
        {'auroc': 1.0, 'aupr': 1.0, 'eer': 0.0, 'best_f1': 1.0}
        """
        hits, alarms = self.counts(weights)
        return {name: _unless_one_class(measure, hits, alarms) for name, measure in _MEASURES.items()}

    def _measure(self, measure: Callable[[Vector, Vector], float], weights: ArrayLike | None) -> float:
        return _unless_one_class(measure, *self.counts(weights))


def confusion_metrics(predicted: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float]:
    """F1, precision and recall of decisions; anomalous = positive.

    Args:
        predicted: (n,) bool, True = flagged.
        labels: (n,) bool, True = anomalous.
        weights: (n,) nonnegative; a weight of k counts an image k times.

    Returns:
        `f1`, `precision` and `recall` in [0, 1]; 0 / 0 is 0, but recall is NaN where nothing is anomalous.

    Raises:
        DataError: shapes that do not fit, or negative or non-finite weights.

    >>> confusion_metrics([True, True, False], [True, False, False])
    {'f1': 0.6666666666666666, 'precision': 0.5, 'recall': 1.0}
    """
    flagged = flags(predicted, "predictions")
    positive = flags(labels, "labels", len(flagged))
    counted = np.ones(len(flagged)) if weights is None else _checked_weights(weights, len(flagged))
    hits, alarms, positives = (float(counted @ which) for which in (flagged & positive, flagged, positive))
    return {
        "f1": 2 * hits / (alarms + positives) if hits else 0.0,
        "precision": hits / alarms if hits else 0.0,
        "recall": hits / positives if positives else float("nan"),
    }


def _checked_weights(weights: ArrayLike, n: int) -> Vector:
    checked = finite_vector(weights, "weights")
    if len(checked) != n:
        raise DataError(f"there are {len(checked)} weights for {n} images; give one per image")
    if n and checked.min() < 0:
        raise DataError(f"weights hold the negative value {checked.min()}; give how often each image counts")
    return checked


def _rates(counts: Vector) -> Vector:
    return counts / counts[-1] if counts[-1] else np.full(len(counts), np.nan)


def _unless_one_class(measure: Callable[[Vector, Vector], float], hits: Vector, alarms: Vector) -> float:
    return measure(hits, alarms) if hits[-1] and alarms[-1] else float("nan")


def _auroc(hits: Vector, alarms: Vector) -> float:
    steps = alarms[1:] - alarms[:-1]
    # Trapezoids give ties one half; rounding must not carry a perfect ranking beyond 1.
    return min(float(steps @ (hits[1:] + hits[:-1])) / float(2 * hits[-1] * alarms[-1]), 1.0)


def _aupr(hits: Vector, alarms: Vector) -> float:
    # Where nothing is flagged yet there is no hit either: any divisor will do but zero.
    precision = hits[1:] / np.maximum(hits[1:] + alarms[1:], np.finfo(np.float64).tiny)
    return min(float((hits[1:] - hits[:-1]) @ precision) / float(hits[-1]), 1.0)


def _eer(hits: Vector, alarms: Vector) -> float:
    fpr = alarms / alarms[-1]
    excess = fpr + hits / hits[-1] - 1  # rises from -1 to 1, and is 0 where FPR = 1 - TPR
    after = int(np.searchsorted(excess, 0.0))
    before = after - 1
    share = excess[before] / (excess[before] - excess[after])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def _best_f1(hits: Vector, alarms: Vector) -> float:
    return float((2 * hits / (hits + alarms + hits[-1])).max())


_MEASURES: dict[str, Callable[[Vector, Vector], float]] = {
    "auroc": _auroc,
    "aupr": _aupr,
    "eer": _eer,
    "best_f1": _best_f1,
}
