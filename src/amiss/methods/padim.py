"""PaDiM: a Gaussian at every position of the image (Defard et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import setting


@dataclass(kw_only=True, eq=False)
class PaDiM(Detector["networks.composed.ComposedScorer"]):
    """How unusual the features of each position are for just that position.

    At every position of the feature maps a Gaussian is fitted to the features that normal images have there; of many
    channels, some are drawn at random (the paper's section III-B). Images pass once, a batch at a time. Map: the
    Mahalanobis distance to the position's Gaussian. Score: the mean of its highest values; the paper takes the largest
    (`top=0`).

    The paper adds 0.01 to the diagonal of each covariance of raw features; features are scaled here, so it is a share
    of their mean variance (`shrinkage`). Without a backbone, patches of pixels stand for features.

    >>> PaDiM().get_params()["dimensions"]
    100
    """

    title: ClassVar[str] = "A Gaussian at every position"
    paper: ClassVar[str] = "Defard et al. 2021"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "parts that always lie alike, on a backbone: set features=FILE; seconds to fit"
    has_map: ClassVar[bool] = True
    takes_backbone: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    dimensions: int = setting(100, "channels of the features that are kept, drawn at random", low=1)
    shrinkage: float = setting(0.05, "added to every variance, as a share of the mean variance", low=1e-6)
    top: float = setting(0.01, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)
    pixels: int = setting(5, "side of the patches of pixels, where there is no backbone", low=1)
    grid: int = setting(4, "pixels from one patch to the next, where there is no backbone", low=1)

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.composed.ComposedScorer:
        front: torch.nn.Module = torch.nn.Identity()
        channels, height, width = shape if backbone is None else backbone.shape
        size = (height, width)
        if backbone is None:
            front = networks.memory_bank.PixelPatches(channels, self.pixels, self.grid)
            channels, height, width = front(torch.zeros(1, *shape)).shape[1:]
        kept = min(self.dimensions, channels)
        return networks.composed.ComposedScorer(
            functools.partial(_score, size=size, top=self.top),
            front=front,
            channels=torch.randperm(channels)[:kept].sort().values,
            mean=torch.zeros(height, width, kept),
            whitening=torch.eye(kept).repeat(height, width, 1, 1),
        )

    def stages(self, scorer: networks.composed.ComposedScorer) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            front, channels = scorer.get_submodule("front"), scorer.get_buffer("channels")
            total = torch.zeros(scorer.get_buffer("mean").shape, dtype=torch.float64)
            products = torch.zeros(scorer.get_buffer("whitening").shape, dtype=torch.float64)
            for images in context.train.batches(64):
                found = (
                    _features(context.features(images), front, channels).cpu().double()
                )  # not every device has float64
                total += found.sum(dim=0)
                products += torch.einsum("nhwi,nhwj->hwij", found, found)
            mean = total / len(context.train)
            covariance = products / len(context.train) - mean[..., :, None] * mean[..., None, :]
            variances = covariance.diagonal(dim1=-2, dim2=-1)
            variance = variances.mean().clamp(min=1e-12)
            covariance = covariance + self.shrinkage * variance * torch.eye(mean.shape[-1]).to(covariance)
            # with covariance = L L^T, the Mahalanobis distance is the length of L^-1 (x - mean)
            whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
            device = channels.device
            scorer.set_buffers(mean=mean.float().to(device), whitening=whitening.float().to(device))
            return {"mean variance": float(variance)}

        return [training.stage.Computation("fit", compute)]


def _features(given: torch.Tensor, front: torch.nn.Module, channels: torch.Tensor) -> torch.Tensor:
    """Feature maps, or images where there is no backbone, (n, c, h, w) to the kept features (n, h', w', k)."""
    found: torch.Tensor = front(given)[:, channels].permute(0, 2, 3, 1)
    return found


def _score(
    given: torch.Tensor,
    front: torch.nn.Module,
    channels: torch.Tensor,
    mean: torch.Tensor,
    whitening: torch.Tensor,
    *,
    size: tuple[int, int],
    top: float,
) -> dict[str, torch.Tensor]:
    """Mahalanobis distances: `score` (n,) and `map` (n, *size)."""
    with torch.autocast(given.device.type, enabled=False):  # distances are sums of many small differences
        centred = _features(given.float(), front, channels) - mean
        distances = torch.einsum("hwij,nhwj->nhwi", whitening, centred).square().sum(dim=3).sqrt()
    score = networks.memory_bank.top_mean(distances, top)
    return {"score": score, "map": networks.memory_bank.upsampled(distances, size)}
