"""The memory bank against scikit-learn, and its parts against plain NumPy."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from amiss.export.onnx_graph import export_onnx
from amiss.networks.memory_bank import (
    MemoryBank,
    MemoryBankScorer,
    PixelPatches,
    greedy_coreset,
    sample_patch_features,
    top_mean,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(count: int, channels: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(count, channels, generator=generator(seed), dtype=torch.float64)
    mixing = torch.randn(channels, channels, generator=generator(99), dtype=torch.float64)
    return (drawn @ mixing + 3).float()


@pytest.mark.parametrize("neighbours", [1, 3])
def test_distances_are_those_of_scikit_learn(neighbours: int) -> None:
    features, new = correlated(300, 10), correlated(2 * 4 * 5, 10, seed=1)
    memory = MemoryBank(10, components=6, neighbours=neighbours)
    memory.fit(features, 1000, generator())
    found = memory(new.view(2, 4, 5, 10).permute(0, 3, 1, 2))
    scaler = StandardScaler().fit(features.numpy())
    principal = PCA(6, svd_solver="full").fit(scaler.transform(features.numpy()))
    kept, asked = (principal.transform(scaler.transform(each.numpy())) for each in (features, new))
    expected = NearestNeighbors(n_neighbors=neighbours).fit(kept).kneighbors(asked)[0].mean(axis=1)
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-4)


def test_a_kept_feature_is_at_distance_zero() -> None:
    features = correlated(50, 8)
    memory = MemoryBank(8, components=8, neighbours=1)
    memory.fit(features, 50, generator())
    assert memory(features.T.reshape(1, 8, 5, 10)).max() < 1e-3


def test_the_coreset_takes_each_next_point_furthest_from_all_before() -> None:
    points = np.random.default_rng(0).normal(size=(80, 3))
    chosen = greedy_coreset(torch.from_numpy(points), 12, generator()).tolist()
    assert len(set(chosen)) == 12
    for number in range(1, 12):
        before = points[chosen[:number]]
        distances = np.linalg.norm(points[:, None] - before[None], axis=2).min(axis=1)
        assert distances[chosen[number]] == pytest.approx(distances.max(), rel=1e-4)


def test_features_that_never_change_tell_nothing() -> None:
    features = correlated(60, 6)
    features[:, 2] = 0.5
    memory = MemoryBank(6, components=6, neighbours=1)
    memory.fit(features, 60, generator())
    moved = features.clone()
    moved[:, 2] = 100.0
    assert memory(moved.T.reshape(1, 6, 6, 10)).max() < 1e-3


def test_fewer_features_than_components_still_work() -> None:
    memory = MemoryBank(20, components=20, neighbours=3)
    memory.fit(correlated(2, 20), 10, generator())
    assert torch.isfinite(memory(torch.rand(1, 20, 3, 3))).all()


def test_a_patch_feature_averages_its_neighbourhood_and_levels_meet_on_one_grid() -> None:
    fine, middle, coarse = torch.rand(1, 2, 9, 11), torch.rand(1, 3, 5, 6), torch.rand(1, 4, 3, 3)
    joined = MemoryBank.patch_features([fine, middle, coarse])
    assert joined.shape == (1, 9, 5, 6)
    inner = middle[0, :, 1:4, 2:5].mean(dim=(1, 2))
    np.testing.assert_allclose(joined[0, 2:5, 2, 3].numpy(), inner.numpy(), rtol=1e-5)
    assert MemoryBank.patch_features([fine]).shape == fine.shape


def test_pixel_patches_are_the_images_own_pixels() -> None:
    image = torch.rand(2, 3, 11, 14, generator=generator())
    patches = PixelPatches(3, side=3, stride=4)(image)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    assert patches.shape == (2, 27, 3, 4)
    np.testing.assert_array_equal(patches[1, :, 2, 1].numpy(), padded[1, :, 8:11, 4:7].ravel())


def test_the_mean_of_the_highest_values() -> None:
    maps = torch.arange(20.0).view(1, 4, 5)
    assert top_mean(maps, 0.1).item() == 18.5
    assert top_mean(maps, 0.0).item() == 19.0
    assert top_mean(maps, 1.0).item() == 9.5


def test_sampled_features_are_the_images_each_once() -> None:
    features = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    picked = sample_patch_features(features, 6, generator())
    assert picked.shape == (12, 3)
    everywhere = features.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    assert all(each in everywhere for each in picked.tolist())
    assert len({tuple(each) for each in picked.tolist()}) == 12
    assert sample_patch_features(features, 100, generator()).shape == (40, 3)


def test_the_graph_scores_as_the_module_for_odd_sizes() -> None:
    scorer = MemoryBankScorer(MemoryBank(27, 12, 2), (19, 33), 0.1, PixelPatches(3, 3, 4))
    images = torch.rand(6, 3, 19, 33, generator=generator())
    scorer.memory.fit(sample_patch_features(scorer.patch_features(images), 20, generator()), 50, generator())
    new = torch.rand(3, 3, 19, 33, generator=generator(1))
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 19, 33)), providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(["score", "map"], {"image": new.numpy()})
    outputs = scorer(new)
    np.testing.assert_allclose(score, outputs["score"].numpy(), atol=1e-4)
    np.testing.assert_allclose(anomaly_map, outputs["map"].numpy(), atol=1e-4)


def test_features_of_one_group_share_a_deviation() -> None:
    features = torch.randn(500, 3, generator=generator()) * torch.tensor([4.0, 3.0, 0.1])
    memory = MemoryBank(3, 3, 1)
    memory.fit(features, 1000, generator(), groups=(2, 1))
    projection = memory.get_buffer("projection")
    shared = float(features[:, :2].var(dim=0, correction=0).mean().sqrt())
    lengths = projection.square().sum(dim=0).sqrt()
    torch.testing.assert_close(lengths[:2], torch.full((2,), 1 / shared))
    assert float(lengths[2]) == pytest.approx(1 / float(features[:, 2].std(correction=0)), rel=1e-4)
