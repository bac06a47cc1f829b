"""What only nearest neighbours promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import nn

from amiss.methods.knn import KNN
from amiss.training.stage import PreparedImages, StageContext


def learnt(detector: KNN, images: NDArray[np.float32]) -> tuple[nn.Module, dict[str, float]]:
    """The scorer that `images` teach, and the figures for the record."""
    scorer = detector.build(images.shape[1:])
    prepared = PreparedImages(torch.from_numpy(images))
    (fit,) = detector.stages(scorer)
    return scorer, fit.compute(StageContext(prepared, prepared, torch.Generator().manual_seed(0), Path(), []))


@pytest.mark.parametrize("neighbours", [1, 3])
def test_scores_are_scikit_learns_mean_distances(neighbours: int) -> None:
    rng = np.random.default_rng(0)
    images, new = rng.random((300, 1, 8, 8)).astype(np.float32), rng.random((9, 1, 8, 8)).astype(np.float32)
    scorer, figures = learnt(KNN(neighbours=neighbours), images)
    model = NearestNeighbors(n_neighbors=neighbours).fit(images.reshape(300, -1))
    expected = model.kneighbors(new.reshape(9, -1))[0].mean(axis=1)
    np.testing.assert_allclose(scorer(torch.from_numpy(new))["score"], expected, atol=1e-4)
    assert figures == {"kept": 300}


def test_no_more_images_are_kept_than_asked() -> None:
    images = np.random.default_rng(0).random((300, 1, 8, 8)).astype(np.float32)
    scorer, figures = learnt(KNN(kept=40, neighbours=1), images)
    assert figures == {"kept": 40}
    assert len(scorer.get_buffer("kept")) == 40
    found = scorer(torch.from_numpy(images))["score"] == 0
    assert found.sum() == 40
    assert found[:40].sum() < 20, "drawn at random, not the first"


def test_large_images_are_compared_as_small_copies() -> None:
    images = np.random.default_rng(0).random((20, 3, 96, 64)).astype(np.float32)
    scorer, _ = learnt(KNN(small=16), images)
    assert scorer.get_buffer("kept").shape == (20, 3 * 16 * 11)
    noisy = torch.from_numpy(images[:1]).unflatten(2, (16, 6)).flip(3).flatten(2, 3)  # within the blocks
    torch.testing.assert_close(scorer(noisy)["score"], scorer(torch.from_numpy(images[:1]))["score"])
