"""What only the one-class support vector machine promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.svm import OneClassSVM
from torch import nn

from amiss.methods.ocsvm import OCSVM
from amiss.training.stage import PreparedImages, StageContext


def learnt(detector: OCSVM, images: NDArray[np.float32]) -> tuple[nn.Module, dict[str, float]]:
    """The scorer that `images` teach, and the figures for the record."""
    scorer = detector.build(images.shape[1:])
    prepared = PreparedImages(torch.from_numpy(images))
    (fit,) = detector.stages(scorer)
    return scorer, fit.compute(StageContext(prepared, prepared, torch.Generator().manual_seed(0), Path(), []))


def test_scores_are_scikit_learns_decisions() -> None:
    rng = np.random.default_rng(0)
    images, new = rng.random((150, 1, 8, 8)).astype(np.float32), rng.random((20, 1, 8, 8)).astype(np.float32)
    scorer, figures = learnt(OCSVM(nu=0.2, explained=0.8), images)
    principal = PCA(0.8, svd_solver="full").fit(images.reshape(150, -1).astype(np.float64))
    machine = OneClassSVM(nu=0.2, gamma="scale").fit(principal.transform(images.reshape(150, -1)))
    assert figures == {"components": principal.n_components_, "support vectors": len(machine.support_)}
    expected = -machine.decision_function(principal.transform(new.reshape(20, -1)))
    np.testing.assert_allclose(scorer(torch.from_numpy(new))["score"], expected, atol=1e-3)


def test_nu_is_the_share_outside() -> None:
    rng = np.random.default_rng(0)
    factors, patterns = rng.normal(size=(400, 2)), rng.normal(size=(2, 64))
    images = (0.5 + 0.05 * factors @ patterns).reshape(400, 1, 8, 8).astype(np.float32)
    for nu in (0.05, 0.5):
        scorer, figures = learnt(OCSVM(nu=nu), images)
        outside = (scorer(torch.from_numpy(images))["score"] > 0).float().mean()
        assert outside == pytest.approx(nu, abs=0.03)
        assert figures["support vectors"] >= nu * 400


def test_no_more_images_are_learnt_from_than_asked() -> None:
    images = np.random.default_rng(0).random((300, 1, 8, 8)).astype(np.float32)
    _, figures = learnt(OCSVM(kept=30, nu=0.9), images)
    assert 27 <= figures["support vectors"] <= 30


def test_images_that_are_all_alike_give_finite_scores() -> None:
    scorer, _ = learnt(OCSVM(), np.full((20, 1, 8, 8), 0.25, dtype=np.float32))
    assert scorer(torch.rand(5, 1, 8, 8))["score"].isfinite().all()
