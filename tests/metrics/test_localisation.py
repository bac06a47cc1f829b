"""Pixel AUROC and AU-PRO against scikit-learn, scikit-image and a slow loop over thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import label
from sklearn.metrics import roc_auc_score

from amiss.errors import DataError
from amiss.metrics import localisation


def example(seed: int, levels: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    rng = np.random.default_rng(seed)
    masks = [np.zeros((9, 11), dtype=bool) for _ in range(4)]
    masks[0][1:3, 2:5] = masks[0][6:8, 8:] = masks[1][4, 4] = True
    maps = [
        (np.round(rng.random(mask.shape) * levels) + levels * 0.4 * mask * rng.random(mask.shape)).astype(np.float32)
        for mask in masks
    ]
    return maps, masks


def slow_au_pro(maps: list[NDArray[np.float32]], masks: list[NDArray[np.bool_]]) -> float:
    """The definition, threshold by threshold."""
    scores, truth = np.stack(maps), np.stack(masks)
    regions = [
        (number, labels == index)
        for number, labels in enumerate(label(mask, connectivity=2) for mask in masks)
        for index in range(1, labels.max() + 1)
    ]
    curve = [(0.0, 0.0)]
    for threshold in np.unique(scores)[::-1]:
        marked = scores >= threshold
        curve.append((marked[~truth].mean(), float(np.mean([marked[n][region].mean() for n, region in regions]))))
    fpr, pro = map(np.array, zip(*curve, strict=True))
    grid = np.linspace(0, 0.3, 200_001)
    return float(np.trapezoid(np.interp(grid, fpr, pro), grid) / 0.3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.sampled_from([3, 20, 10_000]))
def test_figures_are_those_of_others(seed: int, levels: int) -> None:
    maps, masks = example(seed, levels)
    found = localisation(maps, masks)
    expected = roc_auc_score(np.stack(masks).ravel(), np.stack(maps).ravel())
    assert found["pixel_auroc"] == pytest.approx(expected, abs=1e-9)
    assert found["au_pro"] == pytest.approx(slow_au_pro(maps, masks), abs=2e-3)


def test_small_regions_count_as_much_as_large_ones() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:12, 2:12] = mask[18, 18] = True
    only_large, only_small = np.zeros((2, 20, 20), dtype=np.float32)
    only_large[2:12, 2:12] = only_small[18, 18] = 1
    large, small = localisation([only_large], [mask]), localisation([only_small], [mask])
    assert large["au_pro"] == pytest.approx(small["au_pro"])
    assert large["pixel_auroc"] > 0.9 > small["pixel_auroc"]


def test_what_cannot_be_measured_is_explained() -> None:
    maps, masks = example(0, 20)
    with pytest.raises(DataError, match="4 maps for 3 masks"):
        localisation(maps, masks[:3])
    with pytest.raises(DataError, match="one size"):
        localisation([maps[0][:5]], masks[:1])
    with pytest.raises(DataError, match="both"):
        localisation(maps[2:], masks[2:])
    maps[1][0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        localisation(maps, masks)
