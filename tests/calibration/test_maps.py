"""Smoothing of maps against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve

from amiss.calibration.maps import smoothed


@pytest.mark.parametrize(("shape", "side"), [((3, 16, 20), 3), ((28, 28), 3), ((2, 64, 128), 5), ((5, 5), 3)])
def test_smoothing_is_a_mean_over_a_window_cut_at_the_border(shape: tuple[int, ...], side: int) -> None:
    maps = np.random.default_rng(0).random(shape).astype(np.float32)
    window = np.ones((1,) * (maps.ndim - 2) + (side, side))
    sums = convolve(maps.astype(np.float64), window, mode="constant")
    counts = convolve(np.ones(shape), window, mode="constant")
    np.testing.assert_allclose(smoothed(maps), sums / counts, rtol=1e-5)
    assert smoothed(maps).dtype == np.float32
