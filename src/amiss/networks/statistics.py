"""Scorers that compare an image with statistics of normal ones: pixels, principal components; and edges alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .neighbours import Downsampled

Shape = tuple[int, int, int]


def smooth(maps: Tensor) -> Tensor:
    """(n, h, w) means over a square window of a sixteenth of the shorter side, at least 3, as `calibration.maps`."""
    radius = max(3, min(maps.shape[1:]) // 16) // 2
    window = functional.avg_pool2d(maps[:, None], 2 * radius + 1, 1, radius, count_include_pad=False)
    return window[:, 0]


def reduced(maps: Tensor, how: str) -> Tensor:
    """(n, h, w) to (n,): the `mean`, or the `largest` of the smoothed map."""
    return maps.mean(dim=(1, 2)) if how == "mean" else smooth(maps).amax(dim=(1, 2))


class PixelStatistics(nn.Module):
    """Scorer: squared z-score of every pixel; `map` averages over channels.

    Args:
        shape: (c, h, w) of the images.
        floor: added to each pixel's standard deviation, so that a pixel that never changes does not decide alone.
        how: `mean` of the map, or the `largest` of the smoothed one.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, shape: Shape, floor: float, how: str) -> None:
        super().__init__()
        self._floor, self._how = floor, how
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        distance = (image - self.get_buffer("mean")) / (self.get_buffer("deviation") + self._floor)
        anomaly_map = distance.square().mean(dim=1)
        return {"score": reduced(anomaly_map, self._how), "map": anomaly_map}


class PrincipalComponents(nn.Module):
    """Scorer: squared error of the reconstruction from principal components; `map` averages over channels.

    Args:
        shape: (c, h, w) of the images.
        components: how many orthonormal directions are held; rows of zeros stand for those that are not there.
        how: `mean` of the map, or the `largest` of the smoothed one.
        small: longest side of the copies that are reconstructed, in pixels; None takes images as they are.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, shape: Shape, components: int, how: str, small: int | None = None) -> None:
        super().__init__()
        self._how = how
        self.downsample = Downsampled(shape, small or max(shape[1:]))
        size = math.prod(self.downsample.shape)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(components, size))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        components = self.get_buffer("components")
        height, width = image.shape[2:]
        image = self.downsample(image)
        centred = image.flatten(1) - self.get_buffer("mean")
        with torch.autocast(image.device.type, enabled=False):  # errors are small differences
            rest = centred - (centred @ components.T) @ components
        anomaly_map = rest.reshape(image.shape).square().mean(dim=1)
        return {"score": reduced(anomaly_map, self._how), "map": self.downsample.enlarged(anomaly_map, height, width)}


class EdgeStrength(nn.Module):
    """Scorer: the largest Sobel gradient, in brightness a pixel, of the image smoothed over 3x3 pixels.

    `map`: the gradient's magnitude, of the channel where it is largest.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        padded = functional.pad(image, (2, 2, 2, 2), mode="replicate")  # no edge where the image ends
        smoothed = functional.avg_pool2d(padded, 3, 1)
        right = smoothed[..., :, 2:] - smoothed[..., :, :-2]
        down = smoothed[..., 2:, :] - smoothed[..., :-2, :]
        right = (right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]) / 8
        down = (down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]) / 8
        anomaly_map = (right.square() + down.square()).sqrt().amax(dim=1)
        return {"score": anomaly_map.amax(dim=(1, 2)), "map": anomaly_map}
