"""Smoothing over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from amiss.events import causal_mean, regularity, savitzky_golay

numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=80)


@given(st.lists(st.floats(-100, 100), min_size=15, max_size=80))
def test_savitzky_golay_as_scipy(values: list[float]) -> None:
    np.testing.assert_allclose(savitzky_golay(values), savgol_filter(values, 15, 3), atol=1e-6)


@given(numbers)
def test_short_videos_are_smoothed_too(values: list[float]) -> None:
    smooth = savitzky_golay(values)
    assert smooth.shape == (len(values),)
    assert np.isfinite(smooth).all()


@given(numbers)
def test_regularity_is_one_for_the_least_error(values: list[float]) -> None:
    found = regularity(values)
    assert found[np.argmin(values)] == 1
    assert ((found >= 0) & (found <= 1)).all()


@given(numbers, st.integers(1, 12))
def test_the_causal_mean_never_looks_ahead(values: list[float], window: int) -> None:
    whole = causal_mean(values, window)
    for end in range(1, len(values) + 1):
        assert whole[end - 1] == pytest.approx(np.mean(values[max(0, end - window) : end]), abs=1e-9)
