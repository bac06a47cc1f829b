"""What local anomalies promise: where they are, how large, and that they can be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from amiss.anomalies.kinds import EDGES, LOCAL
from amiss.anomalies.local import LocalAnomalies, described


def textured(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Images with structure at several scales, no two parts of which are alike."""
    rng = np.random.default_rng(seed)
    noise = rng.random((n, channels, height, width))
    blurred = ndimage.gaussian_filter(noise, (0, 0, 3, 3), mode="reflect")
    return torch.from_numpy(0.2 + 0.6 * (blurred - blurred.min()) / np.ptp(blurred)).float()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(LOCAL),
    edge=st.sampled_from(EDGES[:2]),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
)
def test_what_is_marked_has_changed_and_nothing_leaves_the_range(
    seed: int, kind: str, edge: str, channels: int, height: int, width: int
) -> None:
    images = textured(4, channels, height, width, seed)
    before = images.clone()
    created, changed = LocalAnomalies([kind], [edge]).create(images, generator(seed))
    assert torch.equal(images, before), "the normal images were changed"
    assert created.shape == images.shape
    assert changed.shape == (4, 1, height, width)
    assert set(changed.unique().tolist()) <= {0.0, 1.0}
    assert created.min() >= -1e-6
    assert created.max() <= 1 + 1e-6
    difference = (created - images).abs().amax(dim=1, keepdim=True)
    near = torch.nn.functional.max_pool2d(difference, 3, 1, 1)
    assert (near[changed > 0] > 0.01).all(), "a mark where nothing can be seen"


@pytest.mark.parametrize("kind", LOCAL)
def test_most_created_anomalies_can_be_seen_and_are_local(kind: str) -> None:
    images = textured(64, 1, 64, 64)
    created, changed = LocalAnomalies([kind], ["hard"]).create(images, generator())
    shares = changed.mean(dim=(1, 2, 3))
    assert (shares > 0).float().mean() > 0.7
    assert shares.max() < 0.55, "two regions of a quarter at most, and what noise adds to their outline"
    assert shares.median() < 0.15
    assert ((created - images).abs().amax(dim=1) > 0).float().mean() < 0.5


def test_sizes_span_from_a_few_pixels_to_a_large_part() -> None:
    images = textured(256, 1, 64, 64)
    _, changed = LocalAnomalies(["paste"], ["hard"]).create(images, generator())
    pixels = changed.sum(dim=(1, 2, 3))
    assert 0 < pixels[pixels > 0].min() <= 20
    assert pixels.max() >= 0.1 * 64 * 64


def test_a_change_that_drowns_in_grain_is_not_marked() -> None:
    grainy = torch.rand(32, 1, 48, 48, generator=generator())
    smooth = torch.full((32, 1, 48, 48), 0.5)
    in_grain, on_smooth = (
        LocalAnomalies(["light"], ["hard"]).create(images, generator())[1].mean() for images in (grainy, smooth)
    )
    assert in_grain < 0.5 * on_smooth


def test_hard_edges_are_steps_and_soft_ones_are_not() -> None:
    images = torch.full((64, 1, 48, 48), 0.5)

    def steepest(edge: str) -> float:
        created, _ = LocalAnomalies(["light"], [edge]).create(images, generator())
        change = created - images
        steps = change.diff(dim=3).abs().amax(dim=(1, 2, 3)) / change.abs().amax(dim=(1, 2, 3)).clamp(min=1e-6)
        return float(steps.median())

    assert steepest("hard") == pytest.approx(1, abs=1e-4)
    assert steepest("soft") < 0.4


def test_poisson_edges_meet_the_image_and_keep_what_lies_outside() -> None:
    images = textured(8, 3, 48, 64)
    anomalies = LocalAnomalies(["paste"], ["poisson"])
    anomalies.prepare(images, generator(), count=60)
    assert anomalies._bank is not None
    blended, changed = anomalies._bank
    created, marked = anomalies.create(images, generator(1))
    assert all(any(torch.equal(one, each) for each in blended) for one in created), "not from the bank"
    checked = 0
    for image, mark in zip(blended, changed, strict=True):
        if not mark.any():
            continue
        distances = [(image - each).abs().amax(dim=0) for each in images]
        untouched = min(distances, key=lambda each: float((each > 0).float().mean()))
        assert (untouched > 0).float().mean() < 0.6
        outline = torch.from_numpy(ndimage.binary_dilation((untouched > 0).numpy())) & (untouched == 0)
        border = torch.from_numpy(ndimage.binary_dilation(outline.numpy())) & (untouched > 0)
        if border.sum() > 10 and untouched.max() > 0.1:
            assert untouched[border].mean() < 0.7 * untouched[untouched > 0].max()
            checked += 1
    assert checked > 3
    assert marked.shape == (8, 1, 48, 64)


def test_without_its_bank_poisson_is_soft() -> None:
    images = textured(4, 1, 32, 32)
    soft, _ = LocalAnomalies(["paste"], ["soft"]).create(images, generator())
    early, _ = LocalAnomalies(["paste"], ["poisson"]).create(images, generator())
    assert torch.equal(soft, early)


@pytest.mark.parametrize("edges", [["hard"], ["poisson", "soft"]])
def test_the_same_seed_creates_the_same(edges: list[str]) -> None:
    images = textured(6, 1, 32, 32)

    def made(seed: int) -> Tensor:
        anomalies, draw = LocalAnomalies(LOCAL, edges), generator(seed)
        if anomalies.needs_bank:
            anomalies.prepare(images, draw, count=8)
        return anomalies.create(images, draw)[0]

    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))


def test_what_happened_is_told_in_figures() -> None:
    before = torch.full((1, 3, 8, 8), 0.5)
    after = before.clone()
    after[:, :, :4, :4] += 0.2
    after[:, :, 4:, 4::2] += 0.1
    brighter, uneven, contrast = described(before, after, (2, 2))[0]
    np.testing.assert_allclose(brighter, [[2, 0], [0, 0.5]], atol=1e-4)
    np.testing.assert_allclose(uneven, [[0, 0], [0, 0.5]], atol=2e-3)
    np.testing.assert_allclose(contrast[0], 0, atol=0.2)
    assert contrast[1, 1] == pytest.approx(np.log((0.05**2 + 1e-6) / 1e-6), rel=0.05)
