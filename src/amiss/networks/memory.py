"""The memory of MemAE (Gong et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_TINY = 1e-12


class Memory(nn.Module):
    """Replaces the code at every position by a sparse mixture of learnt items.

    Positions address items by cosine similarity and softmax; weights under `shrink` become zero, the rest is scaled to
    sum to one. Where none would be left (a position of zeros is as near to every item) all weights are kept; the paper
    is silent there, and a sum of nothing would hang on rounding.

    Args:
        items: N, how many the memory holds.
        channels: of the code.
        shrink: weights under it are dropped; the authors use 1/N to 3/N, here 1/N.

    Shape: (n, channels, h, w) to the same.
    """

    def __init__(self, items: int, channels: int, shrink: float | None = None) -> None:
        super().__init__()
        self.items = nn.Parameter(torch.empty(items, channels))
        nn.init.xavier_uniform_(self.items)
        self._shrink = 1 / items if shrink is None else shrink

    def addressing(self, code: Tensor) -> Tensor:
        """(n, h * w, items): how much of each item each position is made of; a position's weights sum to one."""
        queries = functional.normalize(code.float().flatten(2).transpose(1, 2), dim=2)
        weights = (queries @ functional.normalize(self.items, dim=1).T).softmax(dim=2)
        above = weights - self._shrink
        kept = above.relu() * weights / (above.abs() + _TINY)
        total = kept.sum(dim=2, keepdim=True)
        return (kept / total.clamp(min=_TINY)).where(total > 0, weights)

    def forward(self, code: Tensor) -> Tensor:
        retrieved = self.addressing(code) @ self.items
        return retrieved.transpose(1, 2).reshape(code.shape)


def addressing_entropy(weights: Tensor) -> Tensor:
    """Mean entropy, in nats, of the addressing (n, positions, items); small where each position uses few items."""
    return -(weights * (weights + _TINY).log()).sum(dim=2).mean()
