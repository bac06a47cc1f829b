"""The sphere of support vector data description (RAVI 3.6; Ruff et al. 2018): a centre and a radius."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..objectives.svdd import centre_of, one_class, radius_of, soft_boundary


class Sphere(nn.Module):
    """Centre (d,) and radius of embeddings (n, d); both are fitted, not learnt by gradients."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("radius", torch.zeros(()))

    def fit_centre(self, embeddings: Iterable[Tensor], nu: float, away_from_zero: float = 1e-6) -> dict[str, float]:
        """Centre at the mean of all embeddings (n, d), in batches; radius so that a share `nu` of them lies outside.

        Returns: the norm of the centre and the radius, for the record.
        """
        parts = [part.detach() for part in embeddings]
        self.get_buffer("centre").copy_(centre_of(parts, away_from_zero))
        self.get_buffer("radius").copy_(radius_of(torch.cat([self.squared_distances(part) for part in parts]), nu))
        return {
            "norm of the centre": float(self.get_buffer("centre").norm()),
            "radius": float(self.get_buffer("radius")),
        }

    def squared_distances(self, embeddings: Tensor) -> Tensor:
        """(n,) squared Euclidean distances of embeddings (n, d) to the centre."""
        return (embeddings.float() - self.get_buffer("centre")).square().sum(dim=1)

    def loss(self, embeddings: Tensor, soft: bool, nu: float) -> Tensor:
        """Scalar one-class or soft-boundary loss of embeddings (n, d); for the latter the radius follows the batch."""
        centre = self.get_buffer("centre")
        if not soft:
            return one_class(embeddings, centre)
        loss = soft_boundary(embeddings, centre, self.get_buffer("radius").clone(), nu)
        self.get_buffer("radius").copy_(radius_of(self.squared_distances(embeddings.detach()), nu))
        return loss

    def spread(self, embeddings: Tensor) -> float:
        """Mean distance of embeddings (n, d) to their mean, in lengths of the centre; near 0 they have collapsed."""
        apart = (embeddings - embeddings.mean(dim=0)).norm(dim=1).mean()
        return float(apart / self.get_buffer("centre").norm())
