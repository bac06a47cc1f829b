"""Generator, critic and classifier of G2D (Pourreza et al. 2021, sections 3 and 4.1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .chain import LayerChain

Shape = tuple[int, int, int]


def _started(shape: Shape, doublings: int) -> tuple[int, int]:
    """The sides from which so many doublings reach at least the image's."""
    return math.ceil(shape[1] / 2**doublings), math.ceil(shape[2] / 2**doublings)


class Generator(nn.Module):
    """I: Gaussian noise to images, by a dense layer and 4x4 transposed convolutions of stride 2, cut to size.

    Shape: (n, noise) to (n, c, h, w) in [0, 1].

    At 32x32 with the paper's filters: 100 numbers, 1024x4x4, 512x8x8, 256x16x16, image. Batch normalisation and ReLU;
    tanh at the end, brought to [0, 1]. The figure with the layers' details is lost; these are DCGAN's.

    >>> Generator((1, 28, 28), (64, 32, 16))(torch.zeros(2, 100)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, shape: Shape, filters: Sequence[int] = (1024, 512, 256), noise: int = 100) -> None:
        super().__init__()
        self.noise, self._shape = noise, shape
        height, width = _started(shape, len(filters))
        layers: list[nn.Module] = [
            nn.Linear(noise, filters[0] * height * width),
            nn.Unflatten(1, (filters[0], height, width)),
            nn.BatchNorm2d(filters[0]),
            nn.ReLU(),
        ]
        for before, after in itertools.pairwise(filters):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(filters[-1], shape[0], 4, 2, 1))

    def forward(self, noise: Tensor) -> Tensor:
        image: Tensor = (self.layers(noise).tanh() + 1) / 2
        return image[:, :, : self._shape[1], : self._shape[2]]


class Critic(nn.Module):
    """C: the generator mirrored; instance normalisation, LeakyReLU(0.2), one unbounded score.

    Shape: (n, c, h, w) to (n,).

    >>> Critic((1, 28, 28), (16, 32, 64))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2])
    """

    def __init__(self, shape: Shape, filters: Sequence[int] = (256, 512, 1024)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        height, width = shape[1:]
        for number, (before, after) in enumerate(zip((shape[0], *filters), filters, strict=False)):
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            layers.append(nn.Conv2d(before, after, 3, 2, 1))
            if number and height * width > 1:
                layers.append(nn.InstanceNorm2d(after, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters[-1] * height * width, 1), nn.Flatten(0))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


class Classifier(nn.Module):
    """D: a small network with two outputs, normal and anomalous, as log-probabilities.

    Shape: (n, c, h, w) to (n, 2).

    >>> sums = Classifier((1, 28, 28))(torch.zeros(2, 1, 28, 28)).exp().sum(dim=1)
    >>> torch.allclose(sums, torch.ones(2))
    True
    """

    def __init__(self, shape: Shape, filters: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        height, width = shape[1:]
        for before, after in zip((shape[0], *filters), filters, strict=False):
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        dense = nn.Linear(filters[-1] * height * width, 2)
        self.layers = nn.Sequential(*layers, nn.Flatten(), dense, nn.LogSoftmax(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        log_probabilities: Tensor = self.layers(images)
        return log_probabilities


class ClassifierScorer(nn.Module):
    """Scorer: log-odds of anomalous against normal; above 0, D's probability of normal is under the paper's 0.5.

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        log_probabilities = self.network(image).to(torch.float32)
        return {"score": log_probabilities[:, 1] - log_probabilities[:, 0]}

    def chain(self) -> LayerChain:
        """The network's layers, but for the last two, which one dense layer to the log-odds replaces."""
        *layers, dense, _ = self.network.layers  # log-odds: the difference of what the softmax gets
        assert isinstance(dense, nn.Linear)
        odds = nn.Linear(dense.in_features, 1)
        with torch.no_grad():
            odds.weight.copy_(dense.weight[1:] - dense.weight[:1])
            odds.bias.copy_(dense.bias[1:] - dense.bias[:1])
        return LayerChain([*layers, odds, nn.Flatten(0)])
