"""How well the map of an explanation finds the pixels of a defect, and how the score follows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .localisation import localisation
from .ranking import Ranking


def agreement_with_masks(maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Maps against masks, the pixels of all images together.

    Args:
        maps: one (h, w) an image, higher = more of a reason.
        masks: for each the (h, w) pixels of its defects.

    Returns: `pixel_auroc` and `au_pro` as `localisation` gives them; `average_precision` of the pixels; `pointing`, the
    share of images whose highest pixel lies in a defect (Zhang et al. 2016, without its tolerance; of equally high
    pixels the share that does); `best_iou`, intersection over union at the one threshold that is best for these masks
    (an oracle).

    >>> mask = np.zeros((4, 4), dtype=bool)
    >>> mask[1, 1:3] = True
    >>> agreement_with_masks([mask.astype(np.float32)], [mask])["best_iou"]
    1.0
    """
    measured = localisation(maps, masks)
    values = np.concatenate([attribution.ravel() for attribution in maps])
    inside = np.concatenate([mask.ravel() for mask in masks])
    ranking = Ranking(values, inside)
    hits = [
        float(mask[attribution == attribution.max()].mean())
        for attribution, mask in zip(maps, masks, strict=True)
        if mask.any()
    ]
    return measured | {
        "average_precision": ranking.aupr(),
        "pointing": float(np.mean(hits)),
        "best_iou": _best_iou(values, inside),
    }


def _best_iou(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    order = np.argsort(-values, kind="stable")
    found = np.cumsum(inside[order])
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    marked = ends + 1
    return float((found[ends] / (marked + inside.sum() - found[ends])).max())


def area_above(shares: NDArray[np.float64], scores: NDArray[np.float32], end: float) -> float:
    """Area between a deletion or insertion curve (Petsiuk et al. 2018) and the score `end` of the expected image:
    scores (n,) at shares (n,) of changed pixels.

    >>> area_above(np.array([0.0, 0.5, 1.0]), np.array([4, 2, 2], np.float32), end=2)
    0.5
    """
    return float(np.trapezoid(scores.astype(np.float64) - end, shares))


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Spearman's, of the pixels of two maps; 0 where one of them is flat."""
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(one.ravel(), other.ravel()).statistic)
