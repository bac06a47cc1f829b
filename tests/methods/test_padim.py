"""What only PaDiM promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

import amiss
from amiss.methods.padim import PaDiM
from amiss.metrics import Ranking
from amiss.networks.backbone import Backbone, Features
from amiss.networks.composed import ComposedScorer
from amiss.testing.common import small_backbone
from amiss.training.stage import PreparedImages, StageContext, no_backbone


def learnt(detector: PaDiM, images: NDArray[np.float32], features: Features | None = None) -> ComposedScorer:
    """The head that `images` teach."""
    torch.manual_seed(0)
    scorer = detector.build(images.shape[1:], features)
    prepared = PreparedImages(torch.from_numpy(images))
    (fit,) = detector.stages(scorer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        fit.compute(StageContext(prepared, prepared, generator, Path(), [], features or no_backbone))
    return scorer


def images(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 1, 8, 8)).astype(np.float32)


def test_distances_are_scikit_learns_mahalanobis_distances() -> None:
    normal, new = images(300, 0), images(5, 1)
    scorer = learnt(PaDiM(pixels=2, grid=2, shrinkage=1e-6, top=1.0), normal)
    patches = [each.reshape(len(each), 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(len(each), 16, 4)
               for each in (normal, new)]  # fmt: skip
    expected = np.stack(
        [EmpiricalCovariance().fit(patches[0][:, at]).mahalanobis(patches[1][:, at]) for at in range(16)], axis=1
    )
    found = scorer(torch.from_numpy(new))["score"]
    np.testing.assert_allclose(found, np.sqrt(expected).mean(axis=1), rtol=1e-3)


def test_a_part_in_the_wrong_position_is_found() -> None:
    """What a memory of patches, which knows no positions, cannot see."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 30, (80, 32, 32), dtype=np.uint8)
    scenes[:, 4:12, 4:12] += 150
    moved = rng.integers(0, 30, (20, 32, 32), dtype=np.uint8)
    moved[:, 20:28, 20:28] += 150
    detector = PaDiM(seed=0).fit(scenes[:60])
    scores = detector.score(np.concatenate([scenes[60:], moved])).scores
    assert Ranking(scores, np.arange(40) >= 20).auroc() == 1
    assert detector.anomaly_map(moved)[:, 20:28, 20:28].mean() > 3 * detector.anomaly_map(moved)[:, 14:18, 14:18].mean()


def test_it_takes_a_backbone_as_a_part() -> None:
    normal = images(40, 0).repeat(3, axis=1).repeat(4, axis=2).repeat(4, axis=3)
    features = Features(Backbone(small_backbone()), normal.shape[1:])
    features.fit_scale([torch.from_numpy(normal)])
    scorer = learnt(PaDiM(dimensions=6), normal, features)
    assert scorer.get_buffer("mean").shape == (*features.shape[1:], 6)
    with torch.no_grad():
        expected = features(torch.from_numpy(normal))[:, scorer.get_buffer("channels")].mean(dim=0).permute(1, 2, 0)
    torch.testing.assert_close(scorer.get_buffer("mean"), expected, rtol=1e-4, atol=1e-5)


def test_the_seed_draws_the_channels() -> None:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (40, 16, 16), dtype=np.uint8)
    channels = [
        amiss.PaDiM(seed=seed, dimensions=5).fit(scenes).model_.torch_scorer().get_buffer("channels").tolist()
        for seed in (0, 0, 1)
    ]
    assert channels[0] == channels[1] != channels[2]


def test_bad_settings_are_explained() -> None:
    with pytest.raises(amiss.errors.UsageError, match="shrinkage"):
        PaDiM(shrinkage=0.0).check()
