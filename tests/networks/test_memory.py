"""What a memory recalls; its values against NumPy and its entropy's gradient are held in test_parts.py."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.memory import Memory, addressing_entropy


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    items=st.integers(1, 40),
    channels=st.integers(1, 8),
    share=st.sampled_from([None, 0.0, 0.5, 1.0, 3.0]),
)
def test_weights_sum_to_one_and_small_ones_vanish(seed: int, items: int, channels: int, share: float | None) -> None:
    torch.manual_seed(seed)
    memory = Memory(items, channels, None if share is None else share / items)
    code = torch.randn(2, channels, 3, 2)
    code[:, :, 0, 0] = 0  # as a ReLU leaves it
    weights = memory.addressing(code)
    assert weights.shape == (2, 6, items)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 6))
    torch.testing.assert_close(weights[:, 0], torch.full((2, items), 1 / items))


@pytest.mark.parametrize("items", [2, 7, 100, 2000])
def test_a_position_of_zeros_recalls_the_mean_item(items: int) -> None:
    """Whether 1/N computed twice is above or under itself must not decide between that and nothing."""
    memory = Memory(items, 3)
    code = torch.zeros(1, 3, 1, 1, requires_grad=True)
    recalled = memory(code)
    torch.testing.assert_close(recalled[0, :, 0, 0], memory.items.mean(dim=0))
    recalled.sum().backward()
    assert code.grad is not None
    assert code.grad.isfinite().all()


@pytest.mark.parametrize("items", [2, 5, 16])
def test_a_code_equal_to_one_of_unlike_items_recalls_it(items: int) -> None:
    memory = Memory(items, 16)
    with torch.no_grad():
        memory.items.copy_(3 * torch.eye(items, 16))
        for item in range(items):
            code = memory.items[item].reshape(1, 16, 1, 1).expand(1, 16, 2, 2)
            torch.testing.assert_close(memory(code), code)
            assert addressing_entropy(memory.addressing(code)).item() == pytest.approx(0, abs=1e-6)


def test_every_position_recalls_alone() -> None:
    torch.manual_seed(0)
    memory = Memory(12, 4)
    code = torch.randn(3, 4, 2, 5)
    with torch.no_grad():
        recalled = memory(code)
        torch.testing.assert_close(memory(code[1:2, :, 1:, 2:3]), recalled[1:2, :, 1:, 2:3])
        torch.testing.assert_close(memory(7 * code), recalled)  # addressed by direction alone
        torch.testing.assert_close(memory(code.contiguous(memory_format=torch.channels_last)), recalled)


def test_entropy_lies_between_one_item_and_all() -> None:
    assert addressing_entropy(torch.full((2, 3, 8), 1 / 8)).item() == pytest.approx(math.log(8), abs=1e-5)
    assert addressing_entropy(torch.eye(8)[None]).item() == pytest.approx(0, abs=1e-6)


def test_all_items_are_learnt_from() -> None:
    torch.manual_seed(0)
    memory = Memory(6, 4)
    code = torch.randn(5, 4, 4, 4, requires_grad=True)
    memory(code).square().sum().backward()
    assert memory.items.grad is not None
    assert code.grad is not None
    assert (memory.items.grad.abs().sum(dim=1) > 0).all()
    assert (code.grad.abs().sum(dim=1) > 0).any()


class _Scorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(10, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        recalled = self.memory(image)
        return {"score": recalled.mean(dim=(1, 2, 3)), "map": recalled.mean(dim=1)}


def test_exports_with_any_number_of_images() -> None:
    torch.manual_seed(0)
    scorer = _Scorer().eval()
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 5, 4)))
    for count in (1, 3):
        image = torch.randn(count, 3, 5, 4)
        image[:, :, 0, 0] = 0
        (found,) = session.run(["map"], {"image": image.numpy()})
        np.testing.assert_allclose(found, scorer(image)["map"].detach().numpy(), atol=1e-5)
