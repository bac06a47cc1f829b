"""The memory of places against scikit-learn, and its parts against plain NumPy."""

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
from amiss.networks.places import PlaceMemory, PlaceScorer, Unfolded, _far_apart, highest, some_places


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(count: int, channels: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(count, channels, generator=generator(seed), dtype=torch.float64)
    mixing = torch.randn(channels, channels, generator=generator(99), dtype=torch.float64)
    return (drawn @ mixing + 3).float()


@pytest.mark.parametrize("neighbours", [1, 3])
def test_distances_are_those_of_scikit_learn(neighbours: int) -> None:
    places, unseen = correlated(300, 10), correlated(2 * 4 * 5, 10, seed=1)
    memory = PlaceMemory(10, components=6, neighbours=neighbours)
    memory.remember(places, 1000, generator())
    found = memory(unseen.view(2, 4, 5, 10).permute(0, 3, 1, 2))
    scaler = StandardScaler().fit(places.numpy())
    principal = PCA(6, svd_solver="full").fit(scaler.transform(places.numpy()))
    kept, asked = (principal.transform(scaler.transform(each.numpy())) for each in (places, unseen))
    expected = NearestNeighbors(n_neighbors=neighbours).fit(kept).kneighbors(asked)[0].mean(axis=1)
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-4)


def test_a_remembered_place_is_at_distance_zero() -> None:
    places = correlated(50, 8)
    memory = PlaceMemory(8, components=8, neighbours=1)
    memory.remember(places, 50, generator())
    assert memory(places.T.reshape(1, 8, 5, 10)).max() < 1e-3


def test_the_coreset_takes_each_next_place_furthest_from_all_before() -> None:
    points = np.random.default_rng(0).normal(size=(80, 3))
    chosen = _far_apart(torch.from_numpy(points), 12, generator()).tolist()
    assert len(set(chosen)) == 12
    for number in range(1, 12):
        before = points[chosen[:number]]
        distances = np.linalg.norm(points[:, None] - before[None], axis=2).min(axis=1)
        assert distances[chosen[number]] == pytest.approx(distances.max(), rel=1e-4)


def test_features_that_never_change_tell_nothing() -> None:
    places = correlated(60, 6)
    places[:, 2] = 0.5
    memory = PlaceMemory(6, components=6, neighbours=1)
    memory.remember(places, 60, generator())
    moved = places.clone()
    moved[:, 2] = 100.0
    assert memory(moved.T.reshape(1, 6, 6, 10)).max() < 1e-3


def test_fewer_places_than_components_still_work() -> None:
    memory = PlaceMemory(20, components=20, neighbours=3)
    memory.remember(correlated(2, 20), 10, generator())
    assert torch.isfinite(memory(torch.rand(1, 20, 3, 3))).all()


def test_a_place_knows_its_neighbourhood_and_levels_meet_on_one_grid() -> None:
    fine, middle, coarse = torch.rand(1, 2, 9, 11), torch.rand(1, 3, 5, 6), torch.rand(1, 4, 3, 3)
    joined = PlaceMemory.features([fine, middle, coarse])
    assert joined.shape == (1, 9, 5, 6)
    inner = middle[0, :, 1:4, 2:5].mean(dim=(1, 2))
    np.testing.assert_allclose(joined[0, 2:5, 2, 3].numpy(), inner.numpy(), rtol=1e-5)
    assert PlaceMemory.features([fine]).shape == fine.shape


def test_unfolded_patches_are_the_images_own_pixels() -> None:
    image = torch.rand(2, 3, 11, 14, generator=generator())
    patches = Unfolded(3, side=3, stride=4)(image)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    assert patches.shape == (2, 27, 3, 4)
    np.testing.assert_array_equal(patches[1, :, 2, 1].numpy(), padded[1, :, 8:11, 4:7].ravel())


def test_the_mean_of_the_highest_places() -> None:
    places = torch.arange(20.0).view(1, 4, 5)
    assert highest(places, 0.1).item() == 18.5
    assert highest(places, 0.0).item() == 19.0
    assert highest(places, 1.0).item() == 9.5


def test_some_places_are_places_of_the_image_each_once() -> None:
    features = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    picked = some_places(features, 6, generator())
    assert picked.shape == (12, 3)
    everywhere = features.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    assert all(place in everywhere for place in picked.tolist())
    assert len({tuple(place) for place in picked.tolist()}) == 12
    assert some_places(features, 100, generator()).shape == (40, 3)


def test_the_graph_scores_as_the_module_for_odd_sizes() -> None:
    scorer = PlaceScorer(PlaceMemory(27, 12, 2), (19, 33), 0.1, Unfolded(3, 3, 4))
    images = torch.rand(6, 3, 19, 33, generator=generator())
    scorer.memory.remember(some_places(scorer.features(images), 20, generator()), 50, generator())
    unseen = torch.rand(3, 3, 19, 33, generator=generator(1))
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 19, 33)), providers=["CPUExecutionProvider"])
    score, places = session.run(["score", "map"], {"image": unseen.numpy()})
    answers = scorer(unseen)
    np.testing.assert_allclose(score, answers["score"].numpy(), atol=1e-4)
    np.testing.assert_allclose(places, answers["map"].numpy(), atol=1e-4)
