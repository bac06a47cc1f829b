"""How well maps find the pixels of a defect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

#: AU-PRO is integrated up to this share of falsely marked pixels (Bergmann et al. 2021, section 6.2).
LARGEST_FALSE_SHARE = 0.3


def localisation(
    maps: Sequence[NDArray[np.float32]],
    masks: Sequence[NDArray[np.bool_]],
    inside: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """Pixel AUROC, and the area under the per-region overlap curve (AU-PRO) up to 30 % false positives.

    Args:
        maps: one (h, w) an image, higher = more anomalous; sizes may differ.
        masks: for each the (h, w) pixels of its defects; none for normal images.
        inside: (h, w) the pixels of every image that count; None: all.

    Returns: `pixel_auroc`: a pixel of a defect is above a normal pixel with this probability. `au_pro`: for every
    threshold the covered share of each connected defect is averaged over all defects, however large, and integrated
    over the false positive rate, divided by 0.3; 1 is perfect.

    Raises:
        DataError: lengths or sizes that do not fit, values that are not finite, or pixels of one kind only.

    >>> mask = np.zeros((4, 4), dtype=bool)
    >>> mask[1, 1] = True
    >>> localisation([mask.astype(np.float32)], [mask])
    {'pixel_auroc': 1.0, 'au_pro': 1.0}
    """
    if len(maps) != len(masks):
        raise DataError(f"there are {len(maps)} maps for {len(masks)} masks; give one mask for each map")
    weights, values = [], []
    regions = 0
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if anomaly_map.shape != mask.shape:
            raise DataError(f"a map of {anomaly_map.shape} places has a mask of {mask.shape}; bring them to one size")
        counted = np.ones(mask.shape, dtype=np.bool_) if inside is None else inside
        weight, count = _by_region(mask & counted)
        regions += count
        weights.append(weight[counted])
        values.append(anomaly_map[counted])
    scores, weight = np.concatenate(values), np.concatenate(weights)
    if not np.isfinite(scores).all():
        raise DataError("a map holds values that are not finite; leave it out")
    normal = weight == 0
    if not regions or not normal.any():
        raise DataError("places of defects and normal places are both needed; give images of both kinds")
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) != 0, True)  # ties are passed together
    false = np.append(0, np.cumsum(normal[order])[ends]) / normal.sum()
    found = np.append(0, np.cumsum(~normal[order])[ends]) / (~normal).sum()
    covered = np.append(0, np.cumsum(weight[order])[ends]) / regions
    limit = LARGEST_FALSE_SHARE
    inside = false <= limit
    at_limit = np.interp(limit, false, covered)
    area = np.trapezoid(np.append(covered[inside], at_limit), np.append(false[inside], limit))
    return {"pixel_auroc": float(np.trapezoid(found, false)), "au_pro": float(min(1.0, area / limit))}


def _by_region(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Each pixel of a defect weighs one by the size of its connected region (8 neighbours); how many regions."""
    if not mask.any():
        return np.zeros(mask.shape), 0
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
    weights = np.append(0.0, 1 / sizes[1:])
    return weights[labels], int(count)
