"""All that `amiss eval` measures, with intervals, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from .bootstrap import Weights, bootstrap, plain, wilson
from .ranking import Ranking, confusion_metrics, finite_vector, flags

#: Order in which measures are written.
MEASURES = ("auroc", "aupr", "eer", "f1", "precision", "recall", "best_f1")


def evaluate(
    scores: ArrayLike,
    predicted: ArrayLike,
    labels: ArrayLike,
    kinds: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
    promised: float = 0.01,
    repeats: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure scores and decisions on labelled images.

    Args:
        scores: (n,) finite, higher = more anomalous.
        predicted: (n,) bool, True = flagged.
        labels: (n,) bool, True = anomalous.
        kinds: n kinds of anomaly; those of normal images do not matter, None = of no kind.
        groups: n group names, None where an image stands alone; given, the bootstrap draws whole groups.
        promised: the false-alarm rate that the decisions promise.
        repeats, seed: of the bootstrap.

    Returns:
        `auroc`, `aupr`, `eer`, `f1`, `precision`, `recall` and `best_f1` (an oracle), each `value`, `low` and `high`
        with a 95 % bootstrap interval; `false_alarm_rate` with `promised`, `achieved` (share of the normal images that
        are flagged), `low` and `high` (its 95 % Wilson interval, which takes images for independent); `kinds`, the same
        measures of each kind's anomalies against all normal images, by name; `n_normal` and, also of each kind,
        `n_anomalous`. What does not exist, such as the AUROC of a single class, is None.

    Raises:
        DataError: no images, non-finite scores, or lengths that do not fit.
        UsageError: fewer than one repeat.

    >>> metrics = evaluate([0.1, 0.2, 0.9], [False, False, True], [False, False, True], repeats=10)
    >>> metrics["auroc"]
    {'value': 1.0, 'low': 1.0, 'high': 1.0}
    >>> metrics["false_alarm_rate"]["achieved"], metrics["n_normal"], metrics["n_anomalous"]
    (0.0, 2, 1)
    """
    values = finite_vector(scores, "scores")
    flagged = flags(predicted, "predictions", len(values))
    anomalous = flags(labels, "labels", len(values))
    for what, given in (("kinds", kinds), ("groups", groups)):
        if given is not None and len(given) != len(values):
            raise DataError(f"there are {len(given)} {what} for {len(values)} scores; give one (or None) per image")

    def measure(where: NDArray[np.bool_]) -> dict[str, Any]:
        chosen = None if groups is None else [group for group, taken in zip(groups, where, strict=True) if taken]
        return {
            **_intervals(values[where], flagged[where], anomalous[where], chosen, repeats, seed),
            "false_alarm_rate": false_alarms(flagged[~anomalous], promised),
            "n_anomalous": int((where & anomalous).sum()),
        }

    names = [kind if bad else None for kind, bad in zip(kinds or [], anomalous, strict=False)]
    return {
        **measure(np.ones(len(values), dtype=np.bool_)),
        "kinds": {
            kind: measure(~anomalous | np.array([name == kind for name in names]))
            for kind in sorted({name for name in names if name is not None})
        },
        "n_normal": int((~anomalous).sum()),
    }


def _intervals(
    scores: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    anomalous: NDArray[np.bool_],
    groups: Sequence[str | None] | None,
    repeats: int,
    seed: int,
) -> dict[str, dict[str, float | None]]:
    ranking = Ranking(scores, anomalous)

    def measure(weights: Weights) -> dict[str, float]:
        return ranking.measures(weights) | confusion_metrics(flagged, anomalous, weights)

    intervals = bootstrap(measure, anomalous, groups, repeats, seed=seed)
    return {name: intervals[name].as_dict() for name in MEASURES}


def false_alarms(flagged_normals: NDArray[np.bool_], promised: float) -> dict[str, float | None]:
    """What was promised of normal images, or groups of them, and what happened.

    Args:
        flagged_normals: (n,) bool, of normal ones alone.
        promised: the false-alarm rate that the decisions promise.

    Returns:
        `promised`, `achieved` (the share that is flagged), `low` and `high` (its 95 % Wilson interval, which takes them
        for independent); None where there are none.

    >>> false_alarms(np.array([True, False, False, False]), 0.1)["achieved"]
    0.25
    """
    rate = wilson(int(flagged_normals.sum()), len(flagged_normals))
    return {
        "promised": float(promised),
        "achieved": plain(rate.value),
        "low": plain(rate.low),
        "high": plain(rate.high),
    }
