"""Pixel-wise z-scores: a trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import setting


@dataclass(kw_only=True, eq=False)
class PixelZScore(Detector["networks.statistics.PixelStatistics"]):
    """How far every pixel lies from its mean over the normal images, in standard deviations.

    Map: squared z-score, averaged over channels. Score: the map's mean, or the largest value of the smoothed map.

    >>> PixelZScore(reduce="largest").get_params()["floor"]
    0.05
    """

    title: ClassVar[str] = "Pixel-wise z-scores"
    paper: ClassVar[str] = "a trivial baseline"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "parts that always lie the same way, seen by a still camera; fitted in a second"
    has_map: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    floor: float = setting(0.05, "added to each pixel's standard deviation", low=1e-6)
    reduce: str = setting("mean", "the score from the map", choices=("mean", "largest"))

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.statistics.PixelStatistics:
        return networks.statistics.PixelStatistics(shape, self.floor, self.reduce)

    def stages(self, scorer: networks.statistics.PixelStatistics) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            count, total, squares = 0, torch.zeros(()), torch.zeros(())
            for images in context.train.batches():
                values = images.cpu().double()  # the variance is a small difference of large sums
                count, total, squares = count + len(values), total + values.sum(0), squares + values.square().sum(0)
            mean = total / count
            deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
            scorer.get_buffer("mean").copy_(mean)
            scorer.get_buffer("deviation").copy_(deviation)
            return {"mean deviation": float(deviation.mean())}

        return [training.stage.Computation("fit", compute)]
