"""Figures that cannot be chance, and mean that something is wrong: said in words, because a table would hide them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Decision

#: How rarely chance may do so before it is said.
_SURE = 0.001


def doubts(
    decision: Decision,
    metrics: dict[str, Any],
    flagged: NDArray[np.bool_],
    anomalous: NDArray[np.bool_],
    kinds: Sequence[str],
    units: Sequence[Hashable],
) -> list[str]:
    """Sentences about figures that cannot be chance.

    Args:
        decision: that flagged the images.
        metrics: see `amiss.metrics.evaluate`.
        flagged, anomalous: (n,) bool.
        kinds: n, of the anomalies.
        units: n, what is independent: a group of related images, or an image.
    """
    names = [name for name in metrics["kinds"] if _is_below_half(metrics["kinds"][name], anomalous, kinds, units, name)]
    return [
        *_false_alarms(decision, metrics, flagged & ~anomalous, ~anomalous, units),
        *_ranking(metrics, _is_below_half(metrics, anomalous, kinds, units), names),
    ]


def _false_alarms(
    decision: Decision,
    metrics: dict[str, Any],
    alarms: NDArray[np.bool_],
    normal: NDArray[np.bool_],
    units: Sequence[Hashable],
) -> list[str]:
    """Far more false alarms than were promised."""
    groups: dict[Hashable, list[bool]] = {}
    for index in np.flatnonzero(normal).tolist():
        groups.setdefault(units[index], []).append(bool(alarms[index]))
    # of related images one is looked at, unless the promise is over all of a group
    count = sum(any(found) if decision.by_group else found[0] for found in groups.values())
    chance = decision.chance(count, len(groups))
    if chance is None or chance >= _SURE:
        return []
    rate = metrics["false_alarm_rate"]
    word = "promised" if decision.guaranteed else "asked for"
    return [
        f"{alarms.sum()} of {normal.sum()} normal images are flagged, {100 * rate['achieved']:.3g} %, where "
        f"{100 * rate['promised']:.3g} % was {word}; of images like those learnt from, so many would be in less than "
        f"one of {round(1 / _SURE):,} evaluations. These differ (another light, camera or part), or some are not "
        "normal: look at the false alarms, and fit again with normal images as they come now"
    ]


def _is_below_half(
    metrics: dict[str, Any],
    anomalous: NDArray[np.bool_],
    kinds: Sequence[str],
    units: Sequence[Hashable],
    kind: str | None = None,
) -> bool:
    """Whether anomalies score lower than normal images, by a test of ranks (Mann and Whitney 1947)."""
    value = metrics["auroc"]["value"]
    chosen = anomalous & np.array([kind is None or each == kind for each in kinds])
    good, bad = (len({units[index] for index in np.flatnonzero(where).tolist()}) for where in (~anomalous, chosen))
    if value is None or not good or not bad:
        return False
    deviation = math.sqrt((good + bad + 1) / (12 * good * bad))
    return bool((value - 0.5) / deviation < NormalDist().inv_cdf(_SURE))


def _ranking(metrics: dict[str, Any], all_: bool, kinds: Sequence[str]) -> list[str]:
    if all_:
        return [
            f"AUROC {metrics['auroc']['value']:.3f}: anomalies score lower than normal images, and not by chance. Are "
            "the labels swapped? Or was the model fitted on anomalies?"
        ]
    if not kinds:
        return []
    named = ", ".join(f"{kind} (AUROC {metrics['kinds'][kind]['auroc']['value']:.3f})" for kind in kinds)
    return [
        f"anomalies of the kind {named} score lower than normal images, and not by chance: the method is blind to "
        "them, or they are labelled wrongly"
    ]
