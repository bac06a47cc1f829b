"""How normal images may vary, as their user declares it: training images are varied in all these ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from . import kinds


def _flip(images: Tensor, generator: Generator) -> Tensor:
    """Half of them mirrored left to right, half top to bottom."""
    for axis in (2, 3):
        turned = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
        images = torch.where(turned[:, None, None, None], images.flip(axis), images)
    return images


def _rotate(images: Tensor, generator: Generator) -> Tensor:
    """Turned about the centre by any angle, mirrored at the border."""
    angle = (2 * math.pi) * torch.rand(len(images), generator=generator)
    height, width = images.shape[2:]
    rows = [angle.cos(), -angle.sin() * height / width, angle.sin() * width / height, angle.cos()]
    return _resampled(images, torch.stack(rows, dim=1).view(-1, 2, 2), torch.zeros(len(images), 2, 1))


def _shift(images: Tensor, generator: Generator) -> Tensor:
    """Moved by up to 5 % of each side and scaled by up to 5 %, mirrored at the border."""
    scale = 0.95 + 0.1 * torch.rand(len(images), generator=generator)
    turn = scale[:, None, None] * torch.eye(2)
    return _resampled(images, turn, 0.2 * torch.rand(len(images), 2, 1, generator=generator) - 0.1)


def _light(images: Tensor, generator: Generator) -> Tensor:
    """Brightness times 0.7 to 1.4, plus up to 0.05 either way."""
    uniform = torch.rand(2, len(images), 1, 1, 1, generator=generator).to(images.device)
    return (images * (0.7 + 0.7 * uniform[0]) + 0.1 * (uniform[1] - 0.5)).clamp(0, 1)


def _resampled(images: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    grid = functional.affine_grid(torch.cat([turn, shift], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid.to(images), padding_mode="reflection", align_corners=False)


VARIATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = dict(
    zip(kinds.VARIATIONS, (_rotate, _shift, _flip, _light), strict=True)
)


def varied(images: Tensor, generator: Generator, ways: Sequence[str]) -> Tensor:
    """Images (n, c, h, w) in [0, 1], each varied at random in the given ways of `VARIATIONS`.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> torch.equal(varied(images, torch.Generator(), []), images)
    True
    """
    for way in ways:
        images = VARIATIONS[way](images, generator)
    return images
