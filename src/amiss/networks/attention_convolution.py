"""Attention-augmented convolutions (Bello et al. 2019; RAVI 3.5.2): self-attention beside every convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]

#: Attention costs the square of its positions, so it is computed on a grid of at most so many a side.
_LARGEST_GRID = 8
_FEWEST_CHANNELS = 16


def depths(after: int) -> tuple[int, int, int]:
    """Key depth, value depth and heads for a layer of `after` channels: an eighth of them each, and up to four heads.

    Near the authors' lowest setting. Layers of less than 16 channels, such as the image itself, get no attention.
    RAVI 3.5.2 prints 15 % more parameters at the lowest setting; BCAE1 has 3.7 % fewer here. Bello et al. take the
    attention's channels from the convolution; each saves 3x3 kernels, more than 1x1 projections as deep add.

    >>> depths(64), depths(3)
    ((8, 8, 4), (0, 0, 1))
    """
    if after < _FEWEST_CHANNELS:
        return 0, 0, 1
    heads = 4 if after >= 32 else 2
    depth = max(heads, after // 8 // heads * heads)
    return depth, depth, heads


class Attention2d(nn.Module):
    """Multi-head self-attention over the positions of a map, with logits for relative rows and columns.

    Queries, keys and values are 1x1 convolutions, averaged over whole blocks so that at most 8x8 positions attend to
    each other; the result is brought to the wanted size bilinearly. Bello et al. do likewise with their largest maps.

    Args:
        before: channels of the input.
        key_depth, value_depth: over all heads.
        heads: divides both.
        inside, outside: (h, w) of the input, and of the output.

    Shape: (n, before, *inside) to (n, value_depth, *outside).
    """

    def __init__(self, before: int, key_depth: int, value_depth: int, heads: int, inside: Pair, outside: Pair) -> None:
        super().__init__()
        self._keys, self._values, self._heads = key_depth, value_depth, heads
        self._outside = outside
        self._block = tuple(math.ceil(side / _LARGEST_GRID) for side in inside)
        #: (rows, columns) of the grid whose positions attend to each other.
        self.grid: Pair = (math.ceil(inside[0] / self._block[0]), math.ceil(inside[1] / self._block[1]))
        self.projection = nn.Conv2d(before, 2 * key_depth + value_depth, 1)
        self.mixing = nn.Conv2d(value_depth, value_depth, 1)
        depth = key_depth // heads
        for name, side in (("row", self.grid[0]), ("column", self.grid[1])):
            offsets = nn.Parameter(torch.randn(2 * side - 1, depth) / math.sqrt(depth))
            self.register_parameter(f"{name}_offsets", offsets)
            index = torch.arange(side)[None, :] - torch.arange(side)[:, None] + side - 1
            self.register_buffer(f"{name}_index", index, persistent=False)

    def _projected(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values, each (n, heads, positions, depth of a head), in float32."""
        projected = self.projection(features).float()
        if self._block != (1, 1):
            projected = functional.avg_pool2d(projected, self._block, ceil_mode=True, count_include_pad=False)
        parts = projected.split([self._keys, self._keys, self._values], dim=1)
        queries, keys, values = (
            part.reshape(-1, self._heads, part.shape[1] // self._heads, self.grid[0] * self.grid[1]).transpose(2, 3)
            for part in parts
        )
        return queries / math.sqrt(self._keys // self._heads), keys, values

    def _relative(self, queries: Tensor) -> Tensor:
        """(n, heads, positions, positions): logits of a query for the rows and columns between it and a key."""
        rows, columns = self.grid
        grid = queries.reshape(-1, self._heads, rows, columns, queries.shape[3])
        by_row = self.get_parameter("row_offsets")[self.get_buffer("row_index")]  # (rows, rows, depth)
        by_column = self.get_parameter("column_offsets")[self.get_buffer("column_index")]
        vertical = torch.einsum("bhrcd,rsd->bhrcs", grid, by_row)[..., :, None]
        horizontal = torch.einsum("bhrcd,csd->bhrcs", grid, by_column)[..., None, :]
        return (vertical + horizontal).reshape(-1, self._heads, rows * columns, rows * columns)

    def weights(self, features: Tensor) -> Tensor:
        """(n, heads, positions, positions): how much each position attends to each; sums to one over the last."""
        queries, keys, _ = self._projected(features)
        return self._weights(queries, keys)

    def _weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        return (queries @ keys.transpose(2, 3) + self._relative(queries)).softmax(dim=3)

    def forward(self, features: Tensor) -> Tensor:
        queries, keys, values = self._projected(features)
        attended = (self._weights(queries, keys) @ values).transpose(2, 3).reshape(-1, self._values, *self.grid)
        mixed: Tensor = self.mixing(attended)
        if self.grid == self._outside:
            return mixed
        return functional.interpolate(mixed, size=self._outside, mode="bilinear", align_corners=False)


class AttentionConv2d(nn.Module):
    """A convolution with self-attention beside it, their channels put together.

    Args:
        before, after: channels; `value_depth` of the latter come from the attention.
        kernel, stride, padding: of the convolution.
        outside: (h, w) of the output.
        key_depth, value_depth, heads: see `depths`; without value depth the convolution stands alone.
        inside: (h, w) of the input.

    Shape: (n, before, h, w) to (n, after, *outside).
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        outside: Pair,
        key_depth: int,
        value_depth: int,
        heads: int,
        inside: Pair,
    ) -> None:
        super().__init__()
        self.convolution: nn.Module = nn.Conv2d(before, after - value_depth, kernel, stride, padding)
        self.attention = Attention2d(before, key_depth, value_depth, heads, inside, outside) if value_depth else None

    def forward(self, features: Tensor) -> Tensor:
        convolved: Tensor = self.convolution(features)
        if self.attention is None:
            return convolved
        return torch.cat([convolved, self.attention(features).to(convolved.dtype)], dim=1)


class AttentionConvTranspose2d(AttentionConv2d):
    """A transposed convolution with self-attention beside it; arguments and shapes as `AttentionConv2d`."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
        output_padding: Pair,
        outside: Pair,
        key_depth: int,
        value_depth: int,
        heads: int,
        inside: Pair,
    ) -> None:
        super().__init__(before, after, kernel, stride, padding, outside, key_depth, value_depth, heads, inside)
        self.convolution = nn.ConvTranspose2d(before, after - value_depth, kernel, stride, padding, output_padding)
