"""Scorers composed of parts and a plain function: state, copies, devices' dtype, export."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.composed import ComposedScorer


def distance(image: Tensor, network: nn.Module, kept: Tensor) -> dict[str, Tensor]:
    """Smallest distance to kept features, and the first feature map."""
    features = network(image)
    pooled = features.mean(dim=(2, 3))
    return {"score": (pooled[:, None] - kept[None]).square().sum(dim=2).amin(dim=1), "map": features[:, 0]}


def composed(kept: int, seed: int = 0) -> ComposedScorer:
    torch.manual_seed(seed)
    return ComposedScorer(distance, network=nn.Conv2d(1, 4, 3, padding=1), kept=torch.rand(kept, 4)).eval()


def test_parts_are_submodules_and_buffers() -> None:
    scorer = composed(5)
    assert list(scorer.state_dict()) == ["kept", "network.weight", "network.bias"]
    assert [name for name, _ in scorer.named_buffers()] == ["kept"]
    assert [name for name, _ in scorer.named_parameters()] == ["network.weight", "network.bias"]
    assert scorer.double().get_buffer("kept").dtype == torch.float64


def test_it_is_the_function_of_its_parts() -> None:
    scorer = composed(5)
    image = torch.rand(3, 1, 8, 6)
    expected = distance(image, scorer.get_submodule("network"), scorer.get_buffer("kept"))
    output = scorer(image)
    assert list(output) == ["score", "map"]
    assert output["map"].shape == image[:, 0].shape
    for name, value in expected.items():
        assert torch.equal(output[name], value)


def _loaded(trained: ComposedScorer) -> ComposedScorer:
    fresh = composed(2, seed=1)
    fresh.load_state_dict(trained.state_dict())
    return fresh


def _loaded_inside_another(trained: ComposedScorer) -> ComposedScorer:
    fresh = composed(2, seed=1)
    nn.Sequential(fresh).load_state_dict(nn.Sequential(trained).state_dict())
    return fresh


def _loaded_into_a_copy(trained: ComposedScorer) -> ComposedScorer:
    original = composed(2, seed=1)
    fresh = copy.deepcopy(original)
    fresh.load_state_dict(trained.state_dict())
    assert len(original.get_buffer("kept")) == 2
    return fresh


@pytest.mark.parametrize("made", [_loaded, _loaded_inside_another, _loaded_into_a_copy, copy.deepcopy])
def test_a_state_of_any_size_is_loaded(made: Callable[[ComposedScorer], ComposedScorer]) -> None:
    trained = composed(2)
    trained.set_buffers(kept=torch.rand(7, 4))
    image = torch.rand(3, 1, 8, 6)
    assert torch.equal(made(trained)(image)["score"], trained(image)["score"])


def test_a_copy_has_parts_of_its_own() -> None:
    scorer = composed(3)
    image = torch.rand(2, 1, 8, 6)
    before = scorer(image)["score"]
    other = copy.deepcopy(scorer)
    other.set_buffers(kept=torch.zeros(1, 4))
    nn.init.zeros_(other.get_submodule("network").weight)
    assert torch.equal(scorer(image)["score"], before)


def test_an_unknown_buffer_is_refused() -> None:
    with pytest.raises(AttributeError, match="mean"):
        composed(3).set_buffers(mean=torch.zeros(4))


def test_any_name_may_be_a_part() -> None:
    scorer = ComposedScorer(
        lambda image, function: {"score": image.mean(dim=(1, 2, 3)) + function}, function=torch.ones(())
    )
    assert scorer(torch.zeros(2, 1, 3, 3))["score"].tolist() == [1, 1]


def test_exports_with_any_number_of_images() -> None:
    scorer = composed(5)
    session = onnxruntime.InferenceSession(export_onnx(scorer, (1, 8, 6)))
    for count in (1, 3):
        image = torch.rand(count, 1, 8, 6)
        expected = scorer(image)
        for name, value in zip(expected, session.run(list(expected), {"image": image.numpy()}), strict=True):
            np.testing.assert_allclose(value, expected[name].detach().numpy(), atol=1e-5)
