"""Strengthened kernels: equal to three convolutions, and to the plain one they fuse into."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from amiss.networks.asymmetric import AsymmetricConv2d, AsymmetricConvTranspose2d, fuse
from amiss.networks.autoencoder import Autoencoder


def three_convolutions(layer: AsymmetricConv2d, features: Tensor, stride: int, padding: int) -> Tensor:
    """Each kernel by itself, the thin ones on a cropped image, so that their centres meet the square one's."""
    k = layer.square.kernel_size[0]
    middle = (k - 1) // 2
    padded = functional.pad(features, [padding] * 4)
    height, width = padded.shape[2:]
    square = functional.conv2d(padded, layer.square.weight, layer.square.bias, stride)
    narrow = padded[:, :, :, middle : width - (k - 1 - middle)]
    low = padded[:, :, middle : height - (k - 1 - middle), :]
    vertical = functional.conv2d(narrow, layer.vertical.weight, None, stride)
    return square + vertical + functional.conv2d(low, layer.horizontal.weight, None, stride)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.integers(2, 5),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    height=st.integers(6, 11),
    width=st.integers(6, 11),
)
def test_equals_three_aligned_convolutions(kernel: int, stride: int, padding: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    layer = AsymmetricConv2d(2, 3, (kernel, kernel), (stride, stride), (padding, padding))
    features = torch.rand(2, 2, height, width)
    torch.testing.assert_close(layer(features), three_convolutions(layer, features, stride, padding))
    torch.testing.assert_close(layer.fused()(features), layer(features), rtol=1e-4, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(stride=st.integers(1, 2), padding=st.integers(0, 1), extra=st.integers(0, 1), side=st.integers(2, 6))
def test_transposed_equals_the_sum_of_its_kernels(stride: int, padding: int, extra: int, side: int) -> None:
    """A thin transposed kernel is a square one with zeros beside it."""
    extra = min(extra, stride - 1)
    torch.manual_seed(0)
    layer = AsymmetricConvTranspose2d(3, 2, (3, 3), (stride, stride), (padding, padding), (extra, extra))
    features = torch.rand(2, 3, side, side + 1)
    expected: Tensor | float = 0.0
    for part, place in ((layer.vertical, (slice(None), slice(1, 2))), (layer.horizontal, (slice(1, 2), slice(None)))):
        kernel = torch.zeros(3, 2, 3, 3)
        kernel[(slice(None), slice(None), *place)] = part.weight.detach()
        expected += functional.conv_transpose2d(features, kernel, None, stride, padding, extra)
    expected += functional.conv_transpose2d(features, layer.square.weight, layer.square.bias, stride, padding, extra)
    torch.testing.assert_close(layer(features), expected)
    torch.testing.assert_close(layer.fused()(features), layer(features), rtol=1e-4, atol=1e-6)


def test_all_three_kernels_learn() -> None:
    layer = AsymmetricConv2d(1, 1, (3, 3), (1, 1), (1, 1))
    layer(torch.rand(1, 1, 5, 5)).sum().backward()
    for part in (layer.square, layer.vertical, layer.horizontal):
        assert part.weight.grad is not None
        assert part.weight.grad.abs().sum() > 0


def test_a_fused_autoencoder_is_a_plain_one() -> None:
    torch.manual_seed(0)
    network = Autoencoder((1, 32, 32), filters=(8, 8, 8), conv="asymmetric").eval()
    for part in network.modules():  # as after training, not as at the start
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    image = torch.rand(3, 1, 32, 32)
    before = network(image)
    fused = fuse(network)
    torch.testing.assert_close(fused(image), before, rtol=1e-4, atol=1e-6)
    plain = Autoencoder((1, 32, 32), filters=(8, 8, 8))
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    assert {name: value.shape for name, value in fused.state_dict().items()} == shapes
