"""Scorers that keep training images, or the support vectors among them, and compare new images with these."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, int, int]


class Downsampled(nn.Module):
    """Images (n, c, h, w), averaged over square blocks until no side is longer than `side`; small ones stay as is.

    A block that reaches over the border averages what there is.

    Shape: (n, c, h, w) to (n, *shape).

    >>> Downsampled((3, 128, 96), side=32).shape
    (3, 32, 24)
    """

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__()
        self.block = math.ceil(max(shape[1:]) / side)
        #: (c, h', w') of the downsampled images.
        self.shape: Shape = (shape[0], math.ceil(shape[1] / self.block), math.ceil(shape[2] / self.block))

    def forward(self, image: Tensor) -> Tensor:
        if self.block == 1:
            return image
        return functional.avg_pool2d(image, self.block, ceil_mode=True, count_include_pad=False)

    def enlarged(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Maps (n, h', w') of downsampled images, bilinearly at the images' size: (n, height, width)."""
        if self.block == 1:
            return maps
        size = [length * self.block for length in maps.shape[1:]]
        larger = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)
        return larger[:, 0, :height, :width]


class GrowingBuffers(nn.Module):
    """A module with buffers as large as the training images ask for; loading a state makes room for them.

    Args:
        growing: names of the buffers whose shape may differ from one state to the next.
    """

    def __init__(self, *growing: str) -> None:
        super().__init__()
        self._growing = growing
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def set_buffers(self, **values: Tensor) -> None:
        """Set buffers by name, to tensors of any shape."""
        for name, value in values.items():
            self.register_buffer(name, value.contiguous())


def _make_room(module: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name in module._growing:
        buffer = module.get_buffer(name)
        module.register_buffer(name, buffer.new_empty(state.get(prefix + name, buffer).shape))


class Neighbours(GrowingBuffers):
    """Scorer: mean Euclidean distance of the downsampled image (values in [0, 1]) to its nearest neighbours.

    `map`: squared difference to the nearest one, averaged over channels, upsampled to the image's size.

    Args:
        shape: (c, h, w) of the images.
        side: of the downsampled images, at most, in pixels.
        neighbours: how many distances are averaged; all, where fewer images are kept.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, shape: Shape, side: int, neighbours: int) -> None:
        super().__init__("kept")
        self.downsample = Downsampled(shape, side)
        self._neighbours, self._size = neighbours, shape[1:]
        values = math.prod(self.downsample.shape)
        self.set_buffers(kept=torch.zeros(1, values), middle=torch.zeros(values))

    def fit(self, downsampled: Tensor) -> None:
        """Keep downsampled images (m, c, h', w'), at least one."""
        flat = downsampled.flatten(1)
        middle = flat.mean(dim=0)
        self.set_buffers(kept=flat - middle, middle=middle)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        kept = self.get_buffer("kept")
        flat = self.downsample(image).flatten(1) - self.get_buffer("middle")
        # |x - m|^2 less |x|^2 tells who is near, fast; rounding is least about the middle, and spares the distances
        with torch.autocast(image.device.type, enabled=False):
            nearness = kept.square().sum(dim=1) - 2 * flat @ kept.T
        nearest = nearness.topk(min(self._neighbours, len(kept)), dim=1, largest=False).indices
        squared = (flat[:, None] - kept[nearest]).square()  # (n, k, values)
        nearest_map = squared[:, 0].reshape(-1, *self.downsample.shape).mean(dim=1)
        return {
            "score": squared.sum(dim=2).sqrt().mean(dim=1),
            "map": self.downsample.enlarged(nearest_map, *self._size),
        }


class SupportVectors(GrowingBuffers):
    """Scorer: minus the decision function of a one-class support vector machine on principal components.

    With y the components of the downsampled image, the score is -(sum of a_i exp(-gamma |y - v_i|^2) + intercept).

    Args:
        shape: (c, h, w) of the images.
        side: of the downsampled images, at most, in pixels.

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__("components", "vectors", "weights")
        self.downsample = Downsampled(shape, side)
        values = math.prod(self.downsample.shape)
        self.set_buffers(
            mean=torch.zeros(values),
            components=torch.zeros(1, values),
            vectors=torch.zeros(1, 1),
            weights=torch.zeros(1),
            gamma=torch.ones(()),
            intercept=torch.zeros(()),
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        centred = self.downsample(image).flatten(1) - self.get_buffer("mean")
        vectors = self.get_buffer("vectors")
        with torch.autocast(image.device.type, enabled=False):  # the score is a small difference of large sums
            embedded = centred @ self.get_buffer("components").T
            lengths = embedded.square().sum(dim=1, keepdim=True) + vectors.square().sum(dim=1)
            kernel = (-self.get_buffer("gamma") * (lengths - 2 * embedded @ vectors.T).clamp(min=0)).exp()
            return {"score": -(kernel @ self.get_buffer("weights") + self.get_buffer("intercept"))}
