"""A scorer as a chain of layers: what layer-wise relevance propagation needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import nn


@dataclass(frozen=True)
class LayerChain:
    """The layers that lead from images (n, c, h, w) to scores (n,), each applied to the output of the one before.

    Args:
        layers: in order; containers such as `nn.Sequential` stand for the layers inside them.
        reconstructs: the layers give an image (n, c, h, w), and the mean squared error (n,) between their input and
            their output stands behind them.
        behind: layers from this error (n,) to the score (n,); none where the error is the score.

    >>> LayerChain([nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0)]).reconstructs
    False
    """

    layers: list[nn.Module]
    reconstructs: bool = False
    behind: list[nn.Module] = field(default_factory=list)


@runtime_checkable
class Chained(Protocol):
    """A scorer that is a chain of layers."""

    def chain(self) -> LayerChain:
        """The scorer's own layers, not copies of them.

        Raises:
            NotImplementedError: a setting of the scorer has no such chain; in words that follow "LRP has no rule for".
        """
        ...
