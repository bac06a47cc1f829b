"""Scorers that keep images, against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.neighbours import Downsampled, Neighbours, SupportVectors

ODD = (3, 37, 21)


def random_images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def neighbours(shape: tuple[int, int, int], side: int, count: int, kept: Tensor) -> Neighbours:
    scorer = Neighbours(shape, side, count)
    scorer.fit(scorer.downsample(kept))
    return scorer.eval()


def support_vectors(seed: int = 0) -> tuple[SupportVectors, OneClassSVM, PCA]:
    scorer = SupportVectors(ODD, 16)
    small = scorer.downsample(random_images(80, ODD, seed)).flatten(1).numpy()
    principal = PCA(8).fit(small)
    machine = OneClassSVM(nu=0.3, gamma=0.7).fit(principal.transform(small))
    learnt = {
        "mean": principal.mean_,
        "components": principal.components_,
        "vectors": machine.support_vectors_,
        "weights": machine.dual_coef_[0],
        "gamma": machine.gamma,
        "intercept": machine.intercept_[0],
    }
    scorer.set_buffers(**{name: torch.as_tensor(value).float() for name, value in learnt.items()})
    return scorer.eval(), machine, principal


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 80), st.integers(2, 80), st.integers(2, 40))
def test_no_side_is_longer_than_asked(height: int, width: int, side: int) -> None:
    image = random_images(1, (2, height, width))
    small = Downsampled((2, height, width), side)
    made = small(image)
    assert made.shape[1:] == small.shape
    assert max(small.shape[1:]) <= side
    block = small.block
    corner = image[:, :, (small.shape[1] - 1) * block :, (small.shape[2] - 1) * block :]
    torch.testing.assert_close(made[:, :, -1, -1], corner.mean(dim=(2, 3)))
    if max(height, width) <= side:
        assert made is image


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 99))
def test_distances_are_scikit_learns(kept: int, count: int, seed: int) -> None:
    known, new = random_images(kept, (1, 8, 8), seed), random_images(9, (1, 8, 8), seed + 1)
    model = NearestNeighbors(n_neighbors=min(count, kept)).fit(known.flatten(1).numpy())
    expected = model.kneighbors(new.flatten(1).numpy())[0].mean(axis=1)
    np.testing.assert_allclose(neighbours((1, 8, 8), 32, count, known)(new)["score"], expected, atol=1e-4)


def test_a_kept_image_is_at_no_distance() -> None:
    kept = 0.9 + 0.1 * random_images(50, (3, 32, 32))  # far from zero, where rounding would show
    outputs = neighbours((3, 32, 32), 32, 1, kept)(kept)
    torch.testing.assert_close(outputs["score"], torch.zeros(50))
    torch.testing.assert_close(outputs["map"], torch.zeros(50, 32, 32))


def test_the_map_shows_where_the_nearest_differs() -> None:
    kept = random_images(20, ODD)
    changed = kept[3:4].clone()
    changed[:, :, 30:, 14:] = 1 - changed[:, :, 30:, 14:].round()
    anomaly_map = neighbours(ODD, 16, 3, kept)(changed)["map"]
    assert anomaly_map.shape == (1, *ODD[1:])
    assert anomaly_map[0, 31:, 16:].mean() > 0.01
    assert anomaly_map[0, :26].max() < 1e-6


def test_decisions_are_scikit_learns() -> None:
    scorer, machine, principal = support_vectors()
    new = random_images(30, ODD, seed=1)
    embedded = principal.transform(scorer.downsample(new).flatten(1).numpy())
    np.testing.assert_allclose(scorer(new)["score"], -machine.decision_function(embedded), atol=1e-4)


SCORERS = pytest.mark.parametrize(
    ("trained", "fresh"),
    [
        (neighbours(ODD, 16, 3, random_images(40, ODD)), Neighbours(ODD, 16, 3)),
        (support_vectors()[0], SupportVectors(ODD, 16)),
    ],
    ids=["neighbours", "support vectors"],
)


@SCORERS
def test_a_fresh_scorer_makes_room_for_what_is_loaded(trained: nn.Module, fresh: nn.Module) -> None:
    new = random_images(4, ODD, seed=1)
    nested = nn.Sequential(fresh)
    nested.load_state_dict(nn.Sequential(trained).state_dict())
    torch.testing.assert_close(nested(new)["score"], trained(new)["score"], rtol=0, atol=0)
    state = trained.state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict(dict(list(state.items())[:-1]))


def test_a_state_of_other_images_is_refused() -> None:
    scorer = neighbours(ODD, 16, 3, random_images(40, ODD))
    with pytest.raises(RuntimeError, match="middle"):
        Neighbours((1, 9, 9), 16, 3).load_state_dict(scorer.state_dict())


@SCORERS
def test_low_precision_and_layout_change_nothing(trained: nn.Module, fresh: nn.Module) -> None:
    new = random_images(6, ODD, seed=1)
    expected = trained(new)["score"]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(trained(new)["score"], expected, rtol=0, atol=0)
    layout: Any = {"memory_format": torch.channels_last}
    torch.testing.assert_close(trained(new.to(**layout))["score"], expected)


@SCORERS
def test_it_exports_where_blocks_reach_over_the_border(trained: nn.Module, fresh: nn.Module) -> None:
    session = onnxruntime.InferenceSession(export_onnx(trained, ODD))
    for count in (1, 5):
        new = random_images(count, ODD, seed=1)
        expected = trained(new)
        for name, value in zip(expected, session.run(list(expected), {"image": new.numpy()}), strict=True):
            np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-5)
