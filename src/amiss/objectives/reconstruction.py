"""Errors of a reconstruction, per pixel: squared error, structural dissimilarity, and both (RAVI 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

#: Side of the SSIM window (RAVI 3.4.1).
_WINDOW = 11


def squared_error(image: Tensor, reconstruction: Tensor) -> Tensor:
    """(n, h, w) float32 squared difference of images (n, c, h, w), averaged over channels."""
    return (reconstruction.to(torch.float32) - image).square().mean(dim=1)


def structural_dissimilarity(image: Tensor, reconstruction: Tensor, window: int = _WINDOW) -> Tensor:
    """(n, h, w) float32 1 - SSIM of images (n, c, h, w) in [0, 1], averaged over channels; from 0 to 2.

    Kornia's SSIM with a Gaussian window of deviation 1.5. In an image too small for the window, the largest odd window
    that reflection at the border allows.
    """
    from kornia.metrics import ssim

    side = min(window, 2 * min(image.shape[2:]) - 1)
    with torch.autocast(image.device.type, enabled=False):
        similarity: Tensor = ssim(image.float(), reconstruction.float(), side, max_val=1.0)
    return 1 - similarity.mean(dim=1)


def compound(image: Tensor, reconstruction: Tensor, eta: float = 0.5) -> Tensor:
    """(n, h, w) eta * squared error + (1 - eta) * structural dissimilarity of images (n, c, h, w) (RAVI eq. 3.10)."""
    dissimilarity = structural_dissimilarity(image, reconstruction)
    return eta * squared_error(image, reconstruction) + (1 - eta) * dissimilarity
