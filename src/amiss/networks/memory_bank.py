"""A memory bank of patch features of normal images (after PatchCore, Roth et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from .neighbours import GrowingBuffers

#: Dimensions in which a coreset is chosen.
_PROJECTED = 32


def resized(values: Tensor, like: Tensor) -> Tensor:
    """Maps (n, d, h, w), bilinearly at the height and width of `like` (n, d', h', w'): (n, d, h', w')."""
    if values.shape[2:] == like.shape[2:]:
        return values
    return functional.interpolate(values, size=like.shape[2:], mode="bilinear", align_corners=False)


class MemoryBank(GrowingBuffers):
    """Distance of the patch features at every location to their nearest neighbours in the bank.

    Features are brought to mean 0 and deviation 1 each, then to their principal components, perhaps whitened; of many
    patch features of normal images those are kept that lie furthest from one another (greedy coreset; both as in
    PatchCore, section 3.2, with principal components for its random projection).

    Args:
        channels: d of the features.
        components: how many principal components are kept, at most d.
        neighbours: how many distances are averaged; all, where fewer patch features are kept.

    Shape: (n, d, h, w) to distances (n, h, w).
    """

    def __init__(self, channels: int, components: int, neighbours: int) -> None:
        super().__init__("projection", "offset", "kept")
        self._neighbours = neighbours
        components = min(components, channels)
        self.set_buffers(
            projection=torch.zeros(components, channels),
            offset=torch.zeros(components),
            kept=torch.zeros(1, components),
        )

    @staticmethod
    def patch_features(levels: Sequence[Tensor]) -> Tensor:
        """Levels of features, each (n, d_i, h_i, w_i), as one (n, d, h, w) at the grid of the second (or the only) one.

        Each is averaged over 3x3 locations, so that it describes a neighbourhood (PatchCore, section 3.1). Beyond the
        border there are zeros, so that it also tells of the border: without them, magnet tiles with chipped edges
        looked like others.
        """
        grid = levels[min(1, len(levels) - 1)]
        parts = []
        for level in levels:
            factor = max(1, round(level.shape[2] / grid.shape[2]))
            same = functional.avg_pool2d(level, factor, ceil_mode=True, count_include_pad=False)
            parts.append(_averaged(resized(same, grid).float()))
        return torch.cat(parts, dim=1)

    def fit(
        self,
        features: Tensor,
        count: int,
        generator: Generator,
        whitening: float | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        """Fit the scale and the principal components to patch features (m, d), and keep a coreset of them.

        Args:
            features: (m, d) of normal images.
            count: how many are kept; all, where there are fewer.
            generator: of the CPU; draws the first of the coreset.
            whitening: divide each component by the root of its variance plus this share of the mean variance; None
                leaves them as they are.
            groups: how many neighbouring features share a unit, and so one deviation, the root of their mean variance;
                None gives each its own.
        """
        features = features.double()
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        if groups is not None:
            shared = [part.square().mean().sqrt().expand(len(part)) for part in torch.split(deviation, list(groups))]
            deviation = torch.cat(shared)
        deviation = torch.where(deviation > 1e-6, deviation, torch.full_like(deviation, torch.inf))  # constant: count 0
        scaled = (features - mean) / deviation
        variances, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))  # rising
        components = len(self.get_buffer("projection"))
        projection = directions.flip(1).T[:components] / deviation
        if whitening is not None:
            spread = variances.flip(0)[:components].clamp(min=0) + whitening * variances.mean() + 1e-12
            projection = projection / spread.sqrt()[:, None]
        offset = projection @ mean
        projected = features @ projection.T - offset
        kept = projected[greedy_coreset(projected, count, generator).to(projected.device)]
        self.set_buffers(projection=projection.float(), offset=offset.float(), kept=kept.float())

    def forward(self, features: Tensor) -> Tensor:
        """Patch features (n, d, h, w) to distances (n, h, w)."""
        n, _, height, width = features.shape
        kept = self.get_buffer("kept")
        with torch.autocast(features.device.type, enabled=False):
            queries = features.float().permute(0, 2, 3, 1).flatten(0, 2)
            queries = queries @ self.get_buffer("projection").T - self.get_buffer("offset")
            # |x - m|^2 less |x|^2 tells who is near, fast; rounding is to spare the distances
            nearness = kept.square().sum(dim=1) - 2 * queries @ kept.T
            nearest = nearness.topk(min(self._neighbours, len(kept)), dim=1, largest=False).indices
            distances = (queries[:, None] - kept[nearest]).square().sum(dim=2).sqrt().mean(dim=1)
        return distances.view(n, height, width)


class Channels(nn.Module):
    """Some channels of features: (n, d, h, w) to (n, k, h, w).

    Args:
        indices: which, in their order.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("indices", torch.tensor(indices), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.get_buffer("indices")]


def _averaged(features: Tensor) -> Tensor:
    """Means over 3x3 locations, zeros beyond the border; a convolution is several times as fast as pooling here."""
    channels = features.shape[1]
    return functional.conv2d(features, features.new_full((channels, 1, 3, 3), 1 / 9), padding=1, groups=channels)


class PixelPatches(nn.Module):
    """Patches of pixels as features: images (n, c, h, w) to (n, c * side * side, h', w').

    Args:
        channels: c of the images.
        side: of the patches in pixels.
        stride: pixels from one patch to the next.
    """

    def __init__(self, channels: int, side: int, stride: int) -> None:
        super().__init__()
        self.channels = channels * side * side
        self._stride, self._side = stride, side
        weight = torch.eye(self.channels).view(self.channels, channels, side, side)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        before = (self._side - 1) // 2
        padding = [before, self._side - 1 - before] * 2
        padded = functional.pad(image, padding, mode="replicate")
        return functional.conv2d(padded, self.get_buffer("weight"), stride=self._stride)


class MemoryBankScorer(nn.Module):
    """Scorer: distances of patch features to the memory bank; `score` is the mean of the highest.

    Args:
        memory: the bank.
        size: (h, w) of the images, or of the features that stand for them; the `map` is upsampled to it.
        top: share of the locations that are averaged, at least one location.
        front: from images, or features of a backbone, to the features that are compared; None takes them as they are.
        averaged: average features over 3x3 locations, as patches of pixels need not be.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, *size).
    """

    def __init__(
        self, memory: MemoryBank, size: tuple[int, int], top: float, front: nn.Module | None, averaged: bool = True
    ) -> None:
        super().__init__()
        self.memory, self.front = memory, front
        self._size, self._top, self._averaged = size, top, averaged

    def patch_features(self, image: Tensor) -> Tensor:
        """Images (n, c, h, w), or the features that stand for them, to patch features (n, d, h', w')."""
        features: Tensor = image if self.front is None else self.front(image)
        return self.memory.patch_features([features]) if self._averaged else features.float()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        distances = self.memory(self.patch_features(image))
        return {"score": top_mean(distances, self._top), "map": upsampled(distances, self._size)}


def top_mean(maps: Tensor, share: float) -> Tensor:
    """Mean (n,) of the highest `share` of the values of maps (n, h, w), of one at least."""
    flat = maps.flatten(1)
    return flat.topk(max(1, round(share * flat.shape[1])), dim=1).values.mean(dim=1)


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (n, h, w), bilinearly at `size`: (n, *size)."""
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def sample_patch_features(features: Tensor, count: int, generator: Generator) -> Tensor:
    """(n, d, h, w) to (m, d): those of `count` random locations of each image, or of all where there are fewer."""
    patches = features.flatten(2).transpose(1, 2)
    chosen = torch.rand(patches.shape[:2], generator=generator).argsort(dim=1)[:, :count].to(patches.device)
    return patches.gather(1, chosen[:, :, None].expand(-1, -1, patches.shape[2])).flatten(0, 1)


def greedy_coreset(points: Tensor, count: int, generator: Generator) -> Tensor:
    """Indices of `count` of the points (m, k): the first at random, each next furthest from all before.

    Distances are those of a random projection to 32 dimensions, in float32 (Roth et al. 2022, section 3.2): of two
    points, most are within a fifth of the true distance (Johnson and Lindenstrauss), and no search tree is needed.
    """
    if count >= len(points):
        return torch.arange(len(points))
    points = (points - points.mean(dim=0)).float()
    if points.shape[1] > _PROJECTED:
        directions = torch.randn(points.shape[1], _PROJECTED, generator=generator) / math.sqrt(_PROJECTED)
        points = points @ directions.to(points.device)
    chosen = torch.empty(count, dtype=torch.long, device=points.device)
    chosen[0] = int(torch.randint(len(points), (1,), generator=generator))
    distance = torch.full((len(points),), torch.inf, device=points.device)
    lengths = points.square().sum(dim=1)
    for number in range(1, count):
        last = points[chosen[number - 1]]
        # |x - m|^2 as a product with a vector is ten times as fast as the sum of squared differences
        distance = torch.minimum(distance, torch.addmv(lengths, points, last, alpha=-2) + last @ last)
        chosen[number] = distance.argmax()
    return chosen.cpu()
