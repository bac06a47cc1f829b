"""Inputs corrupted in training, to be reconstructed whole (denoising and context autoencoders)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def noisy(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Gaussian noise added, cut to [0, 1] (Vincent et al. 2010).

    Args:
        images: (n, c, h, w) in [0, 1].
        deviation: standard deviation of the noise.
        generator: of the CPU.

    Returns: (n, c, h, w).
    """
    noise = torch.randn(images.shape, generator=generator).to(images)
    return (images + deviation * noise).clamp(0, 1)


def masked(images: Tensor, share: float, generator: Generator) -> Tensor:
    """One rectangle of each image, anywhere, set to zero (Pathak et al. 2016).

    Args:
        images: (n, c, h, w) in [0, 1].
        share: of the image's pixels, the same for every image.
        generator: of the CPU.

    Returns: (n, c, h, w).

    >>> images = torch.ones(2, 1, 10, 10)
    >>> masked(images, 0.25, torch.Generator().manual_seed(0)).mean().item()
    0.75
    """
    n, _, height, width = images.shape
    tall, wide = (max(1, round(length * share**0.5)) for length in (height, width))
    top, left = (
        torch.randint(length - side + 1, (n, 1), generator=generator)
        for length, side in ((height, tall), (width, wide))
    )
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    inside_rows = (rows >= top) & (rows < top + tall)
    inside_columns = (columns >= left) & (columns < left + wide)
    hidden = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images.masked_fill(hidden.to(images.device), 0.0)
