"""Support vector data description of embeddings (RAVI 3.6; Ruff et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def centre_of(embeddings: Iterable[Tensor], away_from_zero: float = 0.1) -> Tensor:
    """Mean (d,) of batches of embeddings (n, d); no coordinate is nearer to zero than `away_from_zero`.

    Zero weights reach a zero centre, so the network could forget everything to please the objective.

    >>> centre_of([torch.tensor([[1.0, 0.02], [3.0, -0.04]])])
    tensor([ 2.0000, -0.1000])
    """
    total, count = torch.zeros(()), 0
    for part in embeddings:
        total = total.to(part.device) + part.float().sum(dim=0)
        count += len(part)
    centre = total / count
    away = torch.where(centre < 0, -away_from_zero, away_from_zero)
    return torch.where(centre.abs() < away_from_zero, away, centre)


def one_class(embeddings: Tensor, centre: Tensor) -> Tensor:
    """Mean squared distance, a scalar, of embeddings (n, d) to the centre (d,); eq. 3.14 without its weight decay."""
    return (embeddings - centre).square().sum(dim=1).mean()


def soft_boundary(embeddings: Tensor, centre: Tensor, radius: Tensor, nu: float = 0.1) -> Tensor:
    """R^2 + mean of max(0, d^2 - R^2) / nu, a scalar: only what lies outside the sphere is pulled in.

    Args:
        embeddings: (n, d).
        centre, radius: (d,) and a scalar.
        nu: share that may lie outside.
    """
    distances = (embeddings - centre).square().sum(dim=1)
    return radius.square() + (distances - radius.square()).clamp(min=0).mean() / nu


def radius_of(squared_distances: Tensor, nu: float) -> Tensor:
    """The radius, a scalar, outside of which a share `nu` of the squared distances (n,) lies."""
    ordered = squared_distances.sqrt().sort().values  # torch.quantile takes at most 2^24 numbers
    position = (1 - nu) * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
