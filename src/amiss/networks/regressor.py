"""The small convolutional regressor of ADACL (thesis, section 4.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .chain import LayerChain

#: Channels that group normalisation takes together.
_GROUP = 8


class Regressor(nn.Sequential):
    """Four convolutions, global max pooling, two dense layers, one output without activation.

    Args:
        channels: of the input image, 1 or 3.
        height, width: of the input image in pixels; from 48 pixels on every convolution has stride 2, below that the
            last keeps stride 1, or nothing would be left to pool over.
        normalisation: behind every convolution: none, batch, or group (of 8 channels).

    Shape: (n, channels, height, width) float32 in [0, 1] to (n,) float32, unbounded. Under 300 k parameters, the
    thesis's figure; filters, strides and normalisation are not printed there and are ours.

    >>> import torch
    >>> Regressor(1, 28, 28)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2])
    """

    def __init__(self, channels: int, height: int, width: int, normalisation: str | None = None) -> None:
        filters = (32, 64, 128, 128)
        strides = (2, 2, 2, 2 if min(height, width) >= 48 else 1)
        layers: list[nn.Module] = []
        for before, after, stride in zip((channels, *filters), filters, strides, strict=False):
            shifted = normalisation is not None  # by the normalisation: a bias before it would be taken out again
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=not shifted),
                *_normalised(after, normalisation),
                nn.LeakyReLU(0.1),
            ]
        dense = [nn.Linear(filters[-1], 64), nn.LeakyReLU(0.1), nn.Linear(64, 1)]
        super().__init__(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), *dense, nn.Flatten(0))


def _normalised(channels: int, normalisation: str | None) -> list[nn.Module]:
    if normalisation == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.GroupNorm(channels // _GROUP, channels)] if normalisation == "group" else []


class RegressionScorer(nn.Module):
    """Scorer: the network's unclipped answer for the whole image is its score.

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": self.network(image).to(torch.float32)}

    def chain(self) -> LayerChain:
        """The network's layers."""
        return LayerChain([self.network])
