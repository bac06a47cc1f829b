"""Input gates treat every image alone, bear flat maps and export; their values are held in test_parts.py."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.gates import SoftAttention, SoftmaxSoftAttention

GATES = (SoftAttention, SoftmaxSoftAttention)


def flat(gate: SoftAttention, level: float) -> SoftAttention:
    """The gate with features that are `level` at every pixel."""
    convolution = gate.features[1]
    assert isinstance(convolution, nn.Conv2d)
    nn.init.zeros_(convolution.weight)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, level)
    return gate.eval()


@pytest.mark.parametrize("gate_class", GATES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_alone_is_gated_as_in_company(gate_class: type[SoftAttention], channels: int) -> None:
    torch.manual_seed(0)
    gate = gate_class(channels).eval()
    images = torch.rand(4, channels, 11, 14)
    images[0] *= 100  # company that would stretch a scale shared by the batch
    with torch.no_grad():
        alone = torch.cat([gate(image[None]) for image in images])
        torch.testing.assert_close(gate(images), alone, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gate(images), images * gate.attention_map(images))


def test_ssa_scales_every_channel_alone() -> None:
    torch.manual_seed(0)
    maps = SoftmaxSoftAttention(3).eval().attention_map(torch.rand(2, 3, 16, 12))
    torch.testing.assert_close(maps.amin(dim=(2, 3)), torch.full((2, 3), 0.3))
    torch.testing.assert_close(maps.amax(dim=(2, 3)), torch.ones(2, 3))


@pytest.mark.parametrize("side", [6, 33, 128])
@pytest.mark.parametrize("level", [0.1, -1.0, 3.0])
def test_rounding_is_no_contrast(side: int, level: float) -> None:
    """Sums over long sides differ in their last digits; scaled up, they would draw stripes from 0.3 to 1."""
    gate = flat(SoftmaxSoftAttention(1), level)
    image = torch.rand(2, 1, side, side + 1, requires_grad=True)
    assert (gate.attention_map(image) == 1).all()
    gate(image).sum().backward()
    assert image.grad is not None
    for gradient in (image.grad, *(weight.grad for weight in gate.parameters() if weight.grad is not None)):
        assert gradient.isfinite().all()


def test_a_little_contrast_is_scaled_to_the_full_range() -> None:
    gate = SoftmaxSoftAttention(1).eval()
    with torch.no_grad():
        gate.features[2].weight.mul_(1e-2)  # type: ignore[union-attr, operator]
        maps = gate.attention_map(torch.rand(2, 1, 8, 8))
    torch.testing.assert_close(maps.amin(dim=(1, 2, 3)), torch.full((2,), 0.3))
    torch.testing.assert_close(maps.amax(dim=(1, 2, 3)), torch.ones(2))


class _Scorer(nn.Module):
    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        gated = self.gate(image)
        return {"score": gated.mean(dim=(1, 2, 3)), "map": gated.mean(dim=1)}


@pytest.mark.parametrize("gate_class", GATES)
def test_exports_with_any_number_of_images(gate_class: type[SoftAttention]) -> None:
    torch.manual_seed(0)
    scorer = _Scorer(gate_class(3)).eval()
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 15, 22)))
    for count in (1, 3):
        image = torch.rand(count, 3, 15, 22)
        (found,) = session.run(["map"], {"image": image.numpy()})
        np.testing.assert_allclose(found, scorer(image)["map"].detach().numpy(), atol=1e-5)
