"""Strengthened kernels: equal to three convolutions, and to the plain one they fuse into."""

from __future__ import annotations

import pytest
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


def three_transposed(
    layer: AsymmetricConvTranspose2d, features: Tensor, stride: int, padding: int, extra: int
) -> Tensor:
    """Each kernel by itself, nothing cropped; the thin ones' outputs moved to the square one's middle; then cropped."""
    rows, columns = layer.square.kernel_size
    above, left = (rows - 1) // 2, (columns - 1) // 2
    square = functional.conv_transpose2d(features, layer.square.weight, None, stride)
    vertical = functional.conv_transpose2d(features, layer.vertical.weight, None, stride)
    horizontal = functional.conv_transpose2d(features, layer.horizontal.weight, None, stride)
    whole = square + functional.pad(vertical, (left, columns - 1 - left, 0, 0))
    whole = functional.pad(whole + functional.pad(horizontal, (0, 0, above, rows - 1 - above)), (0, extra, 0, extra))
    cropped = whole[:, :, padding : whole.shape[2] - padding, padding : whole.shape[3] - padding]
    assert layer.square.bias is not None
    return cropped + layer.square.bias[:, None, None]


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    extra=st.integers(0, 1),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
)
def test_transposed_equals_three_aligned_convolutions(
    kernel: tuple[int, int], stride: int, padding: int, extra: int, height: int, width: int
) -> None:
    extra = min(extra, stride - 1)
    torch.manual_seed(0)
    layer = AsymmetricConvTranspose2d(3, 2, kernel, (stride, stride), (padding, padding), (extra, extra))
    features = torch.rand(2, 3, height, width)
    expected = three_transposed(layer, features, stride, padding, extra)
    torch.testing.assert_close(layer(features), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.fused()(features), layer(features), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        AsymmetricConv2d(1, 1, (3, 3), (1, 1), (1, 1)),
        AsymmetricConvTranspose2d(1, 1, (3, 3), (2, 2), (1, 1), (1, 1)),
    ],
)
def test_all_three_kernels_learn(layer: AsymmetricConv2d | AsymmetricConvTranspose2d) -> None:
    layer(torch.rand(1, 1, 5, 5)).sum().backward()
    for part in (layer.square, layer.vertical, layer.horizontal):
        assert part.weight.grad is not None
        assert part.weight.grad.abs().sum() > 0


def test_fuses_the_root_and_what_lies_deep_inside() -> None:
    def count(network: nn.Module) -> int:
        return sum(weight.numel() for weight in network.parameters())

    down = AsymmetricConv2d(2, 3, (3, 3), (2, 2), (1, 1)).double()
    up = AsymmetricConvTranspose2d(3, 2, (3, 3), (2, 2), (1, 1), (1, 1)).double()
    image = torch.rand(1, 2, 6, 8, dtype=torch.float64)
    root = fuse(AsymmetricConv2d(2, 3, (3, 3), (2, 2), (1, 1)))
    assert type(root) is nn.Conv2d
    assert count(root) == count(nn.Conv2d(2, 3, 3)) < count(down)
    nested = nn.Sequential(nn.Sequential(down, up), nn.ReLU())
    before = nested(image)
    assert fuse(nested) is nested
    assert [type(part) for part in nested.modules()] == [
        nn.Sequential,
        nn.Sequential,
        nn.Conv2d,
        nn.ConvTranspose2d,
        nn.ReLU,
    ]
    torch.testing.assert_close(nested(image), before)  # and still in float64
    assert count(nested) == count(nn.Conv2d(2, 3, 3)) + count(nn.ConvTranspose2d(3, 2, 3))


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
