"""Scorers from statistics of pixels, against NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.decomposition import PCA

from amiss.calibration.maps import smoothed
from amiss.networks.statistics import EdgeStrength, PixelStatistics, PrincipalComponents, smooth

sides = st.integers(min_value=2, max_value=70)
seeds = st.integers(min_value=0, max_value=99)


@settings(max_examples=30, deadline=None)
@given(sides, sides, seeds)
def test_smoothing_is_that_of_shown_maps(height: int, width: int, seed: int) -> None:
    maps = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    np.testing.assert_allclose(smooth(maps).numpy(), smoothed(maps.numpy()), atol=1e-5)


def test_pixels_are_measured_in_deviations() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = rng.random((2, 3, 9, 7)).astype(np.float32)
    images = rng.random((5, 3, 9, 7)).astype(np.float32)
    scorer = PixelStatistics((3, 9, 7), 0.05, "mean")
    scorer.load_state_dict({"mean": torch.from_numpy(mean), "deviation": torch.from_numpy(deviation)})
    outputs = scorer(torch.from_numpy(images))
    expected = (((images - mean) / (deviation + 0.05)) ** 2).mean(axis=1)
    np.testing.assert_allclose(outputs["map"], expected, rtol=1e-4)
    np.testing.assert_allclose(outputs["score"], expected.mean(axis=(1, 2)), rtol=1e-4)


def test_the_largest_tells_a_patch_from_specks() -> None:
    specks, patch = torch.zeros(2, 1, 1, 24, 24)
    specks[..., 3::6, 3::6] = 1  # 16 pixels, as in the patch
    patch[..., 4:8, 4:8] = 1
    images = torch.cat([specks, patch])
    alike = PixelStatistics((1, 24, 24), 0.05, "mean")(images)["score"]
    torch.testing.assert_close(alike[0], alike[1])
    largest = PixelStatistics((1, 24, 24), 0.05, "largest")(images)["score"]
    torch.testing.assert_close(largest[1], 9 * largest[0])


@pytest.mark.parametrize("rows", [4, 9])
def test_reconstruction_is_scikit_learns_whatever_rows_are_spare(rows: int) -> None:
    images = np.random.default_rng(0).random((40, 2, 6, 5)).astype(np.float32)
    flat = images.reshape(40, -1)
    model = PCA(4).fit(flat[:30])
    scorer = PrincipalComponents((2, 6, 5), rows, "mean")
    scorer.get_buffer("mean").copy_(torch.from_numpy(model.mean_))
    scorer.get_buffer("components")[:4].copy_(torch.from_numpy(model.components_))
    outputs = scorer(torch.from_numpy(images[30:]))
    errors = (model.inverse_transform(model.transform(flat[30:])) - flat[30:]) ** 2
    np.testing.assert_allclose(outputs["map"], errors.reshape(10, 2, 6, 5).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(outputs["score"], errors.mean(axis=1), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(sides, sides, seeds)
def test_edges_are_scipys(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    padded = ndimage.uniform_filter(np.pad(image, 6, mode="edge"), 3)
    slopes = np.hypot(ndimage.sobel(padded, 0), ndimage.sobel(padded, 1))[6:-6, 6:-6] / 8
    outputs = EdgeStrength()(torch.from_numpy(image)[None, None])
    np.testing.assert_allclose(outputs["map"][0], slopes, atol=1e-5)
    np.testing.assert_allclose(outputs["score"][0], slopes.max(), atol=1e-5)


def test_edges_have_their_location_and_their_channel() -> None:
    image = torch.full((1, 3, 20, 20), 0.5)
    assert EdgeStrength()(image)["score"].item() == pytest.approx(0, abs=1e-6), "the border is no edge"
    image[:, 0, :, 10:], image[:, 1, :, 10:] = 0.9, 0.1  # equally bright
    anomaly_map = EdgeStrength()(image)["map"][0]
    assert anomaly_map[:, 9:11].min() > 0.1
    assert anomaly_map[:, :7].max() < 1e-6
