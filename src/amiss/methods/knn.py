"""Nearest neighbours on small images: a trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import setting


@dataclass(kw_only=True, eq=False)
class KNN(Detector["networks.neighbours.Neighbours"]):
    """How far a small copy of the image lies from the most similar normal ones.

    Score: mean Euclidean distance to the nearest normal images. Map: squared difference to the nearest one.

    >>> KNN().get_params()["neighbours"]
    3
    """

    title: ClassVar[str] = "Nearest neighbours on small images"
    paper: ClassVar[str] = "a trivial baseline"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "small pictures, several kinds of normal; the larger the set, the better and the slower"
    has_map: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    neighbours: int = setting(3, "nearest normal images whose distances are averaged", low=1)
    small: int = setting(32, "longest side of the small copies, in pixels", low=2)
    kept: int = setting(5000, "normal images kept, drawn at random where there are more", low=1)

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.neighbours.Neighbours:
        return networks.neighbours.Neighbours(shape, self.small, self.neighbours)

    def stages(self, scorer: networks.neighbours.Neighbours) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[: self.kept].sort().values
            scorer.fit(torch.cat([scorer.downsample(context.train[part]) for part in torch.split(chosen, 256)]))
            return {"kept": float(len(chosen))}

        return [training.stage.Computation("fit", compute)]
