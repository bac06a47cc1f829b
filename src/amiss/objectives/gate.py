"""The penalty on an input gate's attention map (RAVI 3.5.3)."""

from __future__ import annotations

from torch import Tensor


def map_penalty(attention_map: Tensor) -> Tensor:
    """Mean over images of the Euclidean norm of the map (n, c, h, w): ||x_AM|| of eq. 3.11; a scalar, unweighted."""
    penalty: Tensor = attention_map.flatten(1).norm(dim=1).mean()
    return penalty
