"""The regressor that answers at every location, and the scorer around it."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.memory_bank import MemoryBank, sample_patch_features
from amiss.networks.pyramid import FeatureRegressor, PyramidRegressor, PyramidScorer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_random_answers(regressor: nn.Module) -> nn.Module:
    """The last layer starts at zero; here its weights are random."""
    torch.manual_seed(0)
    nn.init.normal_(regressor.answer.weight)
    return regressor.eval()


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("size", [(128, 128), (33, 19), (16, 16), (8, 64), (9, 9)])
def test_every_size_gives_a_grid_of_answers(size: tuple[int, int], stride: int) -> None:
    levels, answers = PyramidRegressor((3, *size), 4, stride)(torch.rand(2, 3, *size))
    assert 1 <= len(levels) <= 3
    for number, level in enumerate(levels):
        assert level.shape[2:] == tuple(math.ceil(side / (4 << number)) for side in size)
        assert min(level.shape[2:]) >= 2, "so coarse that 3x3 kernels would cover nothing but the border"
    assert answers.shape[1:] in {level.shape[2:] for level in levels}


def test_the_finer_map_has_four_times_the_locations() -> None:
    image = torch.rand(1, 1, 64, 96)
    sizes = [PyramidRegressor((1, 64, 96), 4, stride)(image)[1].shape[1:] for stride in (4, 8)]
    assert sizes == [(16, 24), (8, 12)]


def test_every_answer_is_zero_at_first() -> None:
    _, answers = PyramidRegressor((1, 32, 32), 4, 4)(torch.rand(2, 1, 32, 32))
    assert (answers == 0).all()


def test_a_change_shows_where_it_is() -> None:
    regressor = with_random_answers(PyramidRegressor((1, 128, 128), 8, 4))
    image = torch.rand(1, 1, 128, 128, generator=generator())
    changed = image.clone()
    changed[:, :, 100:104, 20:24] = 1 - changed[:, :, 100:104, 20:24]
    difference = (regressor(changed)[1] - regressor(image)[1])[0].abs()
    row, column = divmod(int(difference.argmax()), 32)
    assert abs(row - 25) <= 2
    assert abs(column - 5) <= 2


def scorer_with_memory(shape: tuple[int, int, int]) -> tuple[PyramidScorer, Tensor]:
    regressor = with_random_answers(PyramidRegressor(shape, 4, 4))
    memory = MemoryBank(sum(regressor.widths), 8, 1)
    scorer = PyramidScorer(regressor, shape[1:], 0.05, memory).eval()
    images = torch.rand(8, *shape, generator=generator())
    with torch.no_grad():
        features = memory.patch_features(regressor(images)[0])
        memory.fit(sample_patch_features(features, 10, generator()), 40, generator())
        scorer.fit_scale(scorer.parts(images))
    return scorer, images


def test_parts_are_scaled_on_normal_images_and_added() -> None:
    scorer, images = scorer_with_memory((1, 64, 48))
    parts = scorer.parts(images)
    assert list(parts) == ["answers", "distances"]
    scaled = {name: (each - each.mean()) / each.std() for name, each in parts.items()}
    up = nn.functional.interpolate(scaled["distances"][:, None], scaled["answers"].shape[1:], mode="bilinear")[:, 0]
    fused = scaled["answers"] + up
    highest = fused.flatten(1).sort(dim=1, descending=True).values[:, : round(0.05 * 16 * 12)]
    answers = scorer(images)
    np.testing.assert_allclose(answers["score"].detach(), highest.mean(dim=1).detach(), rtol=1e-3, atol=1e-4)
    assert answers["map"].shape == (8, 64, 48)


def test_the_graph_scores_as_the_module_for_odd_sizes() -> None:
    shape = (3, 37, 53)
    scorer, images = scorer_with_memory(shape)
    with torch.no_grad():
        answers = scorer(images[:3])
    session = onnxruntime.InferenceSession(export_onnx(scorer, shape), providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(["score", "map"], {"image": images[:3].numpy()})
    np.testing.assert_allclose(score, answers["score"].numpy(), atol=1e-3)
    np.testing.assert_allclose(anomaly_map, answers["map"].numpy(), atol=1e-3)


def test_on_features_it_answers_on_their_grid() -> None:
    levels, answers = with_random_answers(FeatureRegressor(14, 4))(torch.rand(2, 14, 9, 7))
    assert [level.shape for level in levels] == [(2, 14, 9, 7)]
    assert answers.shape == (2, 9, 7)
