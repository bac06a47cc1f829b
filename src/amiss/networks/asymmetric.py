"""Strengthened kernels: asymmetric (transposed) convolutions that fuse into plain ones (RAVI 3.3, eq. 3.4)."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]
_Plain = TypeVar("_Plain", nn.Conv2d, nn.ConvTranspose2d)


def _crossed(square: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The sum of a k x k kernel, a k x 1 one on its middle column and a 1 x k one on its middle row."""
    height, width = square.shape[2:]
    left, above = (width - 1) // 2, (height - 1) // 2
    column = functional.pad(vertical, (left, width - 1 - left, 0, 0))
    row = functional.pad(horizontal, (0, 0, above, height - 1 - above))
    return square + column + row


class AsymmetricConv2d(nn.Module):
    """A k x k, a k x 1 and a 1 x k convolution, aligned at their centres, whose outputs are summed.

    Convolution is linear in its kernel, so the kernels are added first and the image is convolved once: the same output
    as three convolutions, at the cost of one, in training as well. One bias serves all three; three would only add up.

    Shape: (n, before, h, w) to (n, after, h', w') as nn.Conv2d.
    """

    def __init__(self, before: int, after: int, kernel: Pair, stride: Pair, padding: Pair) -> None:
        super().__init__()
        self._geometry: dict[str, Any] = {"stride": stride, "padding": padding}
        self.square = nn.Conv2d(before, after, kernel)
        self.vertical = nn.Conv2d(before, after, (kernel[0], 1), bias=False)
        self.horizontal = nn.Conv2d(before, after, (1, kernel[1]), bias=False)

    def kernel(self) -> Tensor:
        """(after, before, k, k): the three kernels in one."""
        return _crossed(self.square.weight, self.vertical.weight, self.horizontal.weight)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.kernel(), self.square.bias, **self._geometry)

    def fused(self) -> nn.Conv2d:
        """The plain convolution with the same output."""
        square, (height, width) = self.square, self.square.kernel_size
        plain = nn.Conv2d(square.in_channels, square.out_channels, (height, width), **self._geometry)
        return _filled(plain, self.kernel(), self.square.bias)


class AsymmetricConvTranspose2d(nn.Module):
    """The transposed counterpart of `AsymmetricConv2d` (RAVI's asymmetric deconvolution block, 3.3.2).

    Shape: (n, before, h, w) to (n, after, h', w') as nn.ConvTranspose2d.
    """

    def __init__(
        self, before: int, after: int, kernel: Pair, stride: Pair, padding: Pair, output_padding: Pair
    ) -> None:
        super().__init__()
        self._geometry: dict[str, Any] = {"stride": stride, "padding": padding, "output_padding": output_padding}
        self.square = nn.ConvTranspose2d(before, after, kernel)
        self.vertical = nn.ConvTranspose2d(before, after, (kernel[0], 1), bias=False)
        self.horizontal = nn.ConvTranspose2d(before, after, (1, kernel[1]), bias=False)

    def kernel(self) -> Tensor:
        """(before, after, k, k): the three kernels in one."""
        return _crossed(self.square.weight, self.vertical.weight, self.horizontal.weight)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv_transpose2d(features, self.kernel(), self.square.bias, **self._geometry)

    def fused(self) -> nn.ConvTranspose2d:
        """The plain transposed convolution with the same output."""
        square, (height, width) = self.square, self.square.kernel_size
        plain = nn.ConvTranspose2d(square.in_channels, square.out_channels, (height, width), **self._geometry)
        return _filled(plain, self.kernel(), square.bias)


def _filled(plain: _Plain, kernel: Tensor, bias: Tensor | None) -> _Plain:
    plain.to(kernel.device, kernel.dtype)
    plain.weight.data.copy_(kernel.detach())
    if plain.bias is not None and bias is not None:
        plain.bias.data.copy_(bias.detach())
    return plain


def fuse(network: nn.Module) -> nn.Module:
    """Replace every strengthened layer inside `network`, in place, by the plain one with the same output.

    Returns: the network; where it is a strengthened layer itself, the plain one.

    >>> fuse(nn.Sequential(AsymmetricConv2d(1, 2, (3, 3), (1, 1), (0, 0))))
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
    )
    """
    if isinstance(network, AsymmetricConv2d | AsymmetricConvTranspose2d):
        return network.fused()
    for name, part in network.named_children():
        setattr(network, name, fuse(part))
    return network
