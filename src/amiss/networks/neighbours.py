"""Scorers that keep training images, or the support vectors among them, and compare new images with these."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, int, int]


class Small(nn.Module):
    """Images (n, c, h, w), averaged over square blocks until no side is longer than `side`; small ones stay as is.

    A block that reaches over the border averages what there is.

    >>> Small((3, 128, 96), side=32).shape
    (3, 32, 24)
    """

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__()
        self.block = math.ceil(max(shape[1:]) / side)
        #: (c, h', w') of the small images.
        self.shape: Shape = (shape[0], math.ceil(shape[1] / self.block), math.ceil(shape[2] / self.block))

    def forward(self, image: Tensor) -> Tensor:
        if self.block == 1:
            return image
        return functional.avg_pool2d(image, self.block, ceil_mode=True, count_include_pad=False)


class Keeping(nn.Module):
    """A module with buffers as large as the training images ask for; loading a state makes room for them."""

    def __init__(self, *growing: str) -> None:
        super().__init__()
        self._growing = growing
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def keep(self, **values: Tensor) -> None:
        """Set buffers."""
        for name, value in values.items():
            self.register_buffer(name, value.contiguous())


def _make_room(module: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name in module._growing:
        buffer = module.get_buffer(name)
        module.register_buffer(name, buffer.new_empty(state.get(prefix + name, buffer).shape))


class Neighbours(Keeping):
    """Scorer: mean Euclidean distance of the small image (values in [0, 1]) to the nearest kept ones.

    `map` (n, h, w): squared difference to the nearest one, averaged over channels, enlarged to the image's size.

    Args:
        shape: (c, h, w) of the images.
        side: of the small images, at most, in pixels.
        neighbours: how many distances are averaged; all, where fewer images are kept.
    """

    def __init__(self, shape: Shape, side: int, neighbours: int) -> None:
        super().__init__("kept")
        self.small = Small(shape, side)
        self._neighbours, self._size = neighbours, shape[1:]
        values = math.prod(self.small.shape)
        self.keep(kept=torch.zeros(1, values), middle=torch.zeros(values))

    def remember(self, small: Tensor) -> None:
        """Keep small images (m, c, h', w'), at least one."""
        flat = small.flatten(1)
        middle = flat.mean(dim=0)
        self.keep(kept=flat - middle, middle=middle)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        kept = self.get_buffer("kept")
        flat = self.small(image).flatten(1) - self.get_buffer("middle")
        # |x - m|^2 less |x|^2 tells who is near, fast; rounding is least about the middle, and spares the distances
        with torch.autocast(image.device.type, enabled=False):
            nearness = kept.square().sum(dim=1) - 2 * flat @ kept.T
        nearest = nearness.topk(min(self._neighbours, len(kept)), dim=1, largest=False).indices
        squared = (flat[:, None] - kept[nearest]).square()  # (n, k, values)
        places = squared[:, 0].reshape(-1, *self.small.shape).mean(dim=1, keepdim=True)
        size = [length * self.small.block for length in self.small.shape[1:]]
        enlarged = functional.interpolate(places, size=size, mode="bilinear", align_corners=False)
        height, width = self._size
        return {"score": squared.sum(dim=2).sqrt().mean(dim=1), "map": enlarged[:, 0, :height, :width]}


class SupportVectors(Keeping):
    """Scorer: minus the decision function of a one-class support vector machine on principal components.

    With y the components of the small image, the score is -(sum of a_i exp(-gamma |y - v_i|^2) + intercept).

    Args:
        shape: (c, h, w) of the images.
        side: of the small images, at most, in pixels.
    """

    def __init__(self, shape: Shape, side: int) -> None:
        super().__init__("components", "vectors", "weights")
        self.small = Small(shape, side)
        values = math.prod(self.small.shape)
        self.keep(
            mean=torch.zeros(values),
            components=torch.zeros(1, values),
            vectors=torch.zeros(1, 1),
            weights=torch.zeros(1),
            gamma=torch.ones(()),
            intercept=torch.zeros(()),
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        centred = self.small(image).flatten(1) - self.get_buffer("mean")
        vectors = self.get_buffer("vectors")
        with torch.autocast(image.device.type, enabled=False):  # the score is a small difference of large sums
            embedded = centred @ self.get_buffer("components").T
            lengths = embedded.square().sum(dim=1, keepdim=True) + vectors.square().sum(dim=1)
            kernel = (-self.get_buffer("gamma") * (lengths - 2 * embedded @ vectors.T).clamp(min=0)).exp()
            return {"score": -(kernel @ self.get_buffer("weights") + self.get_buffer("intercept"))}
