"""Discriminators: of codes (AAE) and of images (ALOCC)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CodeDiscriminator(nn.Module):
    """Tells codes (n, d) from draws of a Gaussian: two hidden dense layers, one logit (n,); ADNL 4.2, after AAE.

    Widths are ours. Codes are long (1536 numbers and more) or short (a vector of 64): the hidden layers are the same.

    >>> CodeDiscriminator(8)(torch.zeros(3, 8)).shape
    torch.Size([3])
    """

    def __init__(self, dimensions: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimensions, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
            nn.Flatten(0),
        )

    def forward(self, codes: Tensor) -> Tensor:
        logits: Tensor = self.layers(codes)
        return logits


class ImageDiscriminator(nn.Module):
    """Tells images (n, c, h, w) from reconstructions: strided convolutions, average pooling, one logit (n,).

    Below 8 pixels a side is halved no further. Without batch normalisation: real and reconstructed images come in
    batches of their own, and it would learn to tell batches apart.

    >>> ImageDiscriminator((1, 28, 28))(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3])
    """

    def __init__(self, shape: tuple[int, int, int], filters: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = []
        for before, after in zip((channels, *filters), filters, strict=False):
            stride = 2 if min(height, width) >= 8 else 1
            height, width = -(-height // stride), -(-width // stride)
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.LeakyReLU(0.2)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(filters[-1], 1), nn.Flatten(0)]
        self.layers = nn.Sequential(*layers, *head)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


class DiscriminatorScorer(nn.Module):
    """Scorer: minus the discriminator's logit for the reconstruction; the less it looks normal, the higher (ALOCC).

    Args:
        network: reconstructs images.
        discriminator: from images (n, c, h, w) to logits (n,).

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(self, network: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.network, self.discriminator = network, discriminator

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": -self.discriminator(self.network(image)).to(torch.float32)}
