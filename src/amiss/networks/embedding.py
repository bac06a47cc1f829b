"""The embedding network of Deep SVDD and its scorer (Ruff et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from .sphere import Sphere


class Embedding(nn.Sequential):
    """Strided 3x3 convolutions without any bias, batch normalisation without shift, and a dense layer without bias.

    A bias, or a shift, would let the network map every image onto the centre (Ruff et al. 2018, proposition 2).

    Args:
        shape: (channels, height, width); sides are halved while more than four pixels are left.
        dimensions: d of the embedding.

    Shape: (n, c, h, w) to (n, d).

    >>> import torch
    >>> Embedding((1, 28, 28), 32)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 32])
    """

    def __init__(self, shape: tuple[int, int, int], dimensions: int, filters: tuple[int, ...] = (32, 64, 128)) -> None:
        channels, height, width = shape
        layers: list[nn.Module] = []
        for before, after in zip((channels, *filters), filters, strict=False):
            strides = (2 if height > 4 else 1, 2 if width > 4 else 1)
            layers += [
                nn.Conv2d(before, after, 3, strides, 1, bias=False),
                nn.BatchNorm2d(after, affine=False),
                nn.LeakyReLU(0.1),
            ]
            height, width = -(-height // strides[0]), -(-width // strides[1])
        super().__init__(*layers, nn.Flatten(), nn.Linear(filters[-1] * height * width, dimensions, bias=False))


class SphereScorer(nn.Module):
    """Scorer: squared distance of the embedding to the sphere's centre.

    Args:
        network: from images to embeddings (n, d).
        dimensions: d.

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(self, network: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.network = network
        self.sphere = Sphere(dimensions)

    def encode(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) to their embeddings (n, d)."""
        embeddings: Tensor = self.network(images)
        return embeddings

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": self.sphere.squared_distances(self.encode(image))}
