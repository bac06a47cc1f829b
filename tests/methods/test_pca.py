"""What only reconstruction from principal components promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import decomposition
from torch import nn

from amiss.methods import pca
from amiss.methods.pca import PCA
from amiss.training.stage import PreparedImages, StageContext


def learnt(detector: PCA, images: NDArray[np.float32]) -> tuple[nn.Module, dict[str, float]]:
    """The scorer that `images` teach, and the figures for the record."""
    scorer = detector.build(images.shape[1:])
    prepared = PreparedImages(torch.from_numpy(images))
    (fit,) = detector.stages(scorer)
    return scorer, fit.compute(StageContext(prepared, prepared, torch.Generator().manual_seed(0), Path(), []))


def test_errors_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    images, new = rng.random((120, 1, 6, 7)).astype(np.float32), rng.random((9, 1, 6, 7)).astype(np.float32)
    scorer, figures = learnt(PCA(components=5), images)
    model = decomposition.PCA(5, svd_solver="full").fit(images.reshape(120, -1))
    flat = new.reshape(9, -1)
    errors = (model.inverse_transform(model.transform(flat)) - flat) ** 2
    np.testing.assert_allclose(scorer(torch.from_numpy(new))["score"], errors.mean(axis=1), atol=1e-5)
    assert figures["explained variance"] == pytest.approx(model.explained_variance_ratio_.sum(), abs=1e-5)


def test_few_images_give_few_components() -> None:
    images = np.random.default_rng(0).random((6, 1, 8, 8)).astype(np.float32)
    scorer, figures = learnt(PCA(), images)
    assert figures["explained variance"] == pytest.approx(1)
    np.testing.assert_allclose(scorer(torch.from_numpy(images))["score"], 0, atol=1e-6)
    assert scorer(1 - torch.from_numpy(images))["score"].min() > 0.01


def test_images_that_are_all_alike_leave_their_mean() -> None:
    images = np.full((20, 1, 8, 8), 0.25, dtype=np.float32)
    scorer, figures = learnt(PCA(), images)
    assert figures["explained variance"] == 1
    torch.testing.assert_close(scorer(torch.full((1, 1, 8, 8), 0.75))["score"], torch.tensor([0.25]))


def test_of_many_values_a_seeded_part_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).random((200, 1, 6, 6)).astype(np.float32)
    whole, _ = learnt(PCA(components=3), images)
    monkeypatch.setattr(pca, "_MOST_VALUES", 50 * 36)
    part, _ = learnt(PCA(components=3), images)
    again, _ = learnt(PCA(components=3), images)
    assert not torch.equal(part.get_buffer("mean"), whole.get_buffer("mean"))
    assert torch.equal(part.get_buffer("components"), again.get_buffer("components"))
