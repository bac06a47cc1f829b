"""What only pixel-wise z-scores promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from amiss.methods.pixel_zscore import PixelZScore
from amiss.training.stage import PreparedImages, StageContext


def learnt(detector: PixelZScore, images: NDArray[np.float32]) -> tuple[nn.Module, dict[str, float]]:
    """The scorer that `images` teach, and the figures for the record."""
    scorer = detector.build(images.shape[1:])
    prepared = PreparedImages(torch.from_numpy(images))
    (fit,) = detector.stages(scorer)
    return scorer, fit.compute(StageContext(prepared, prepared, torch.Generator().manual_seed(0), Path(), []))


def test_mean_and_deviation_are_numpys() -> None:
    images = np.random.default_rng(0).random((600, 2, 5, 4)).astype(np.float32)  # several batches
    scorer, figures = learnt(PixelZScore(), images)
    np.testing.assert_allclose(scorer.get_buffer("mean"), images.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(scorer.get_buffer("deviation"), images.std(axis=0), atol=1e-6)
    assert figures["mean deviation"] == pytest.approx(images.std(axis=0).mean())


def test_a_pixel_that_never_changes_does_not_decide_alone() -> None:
    images = np.random.default_rng(0).random((50, 1, 8, 8)).astype(np.float32)
    images[:, 0, 0, 0] = 1  # as rounding would leave it
    new = torch.from_numpy(images[:1]).clone()
    new[0, 0, 0, 0] -= 2 / 255
    scorer, _ = learnt(PixelZScore(), images)
    assert scorer(new)["map"][0, 0, 0] < 0.1
    scorer, _ = learnt(PixelZScore(floor=1e-5), images)
    assert scorer(new)["map"][0, 0, 0] > 1e4
