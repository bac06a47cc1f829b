"""Principal component analysis of whole images: a trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import networks, training
from ..detectors.detector import Detector
from ..environment import versions
from ..lazy import torch
from ..settings import setting

#: Numbers that scikit-learn is given at once; of more images, so many are drawn at random.
_MOST_VALUES = 50_000_000
#: Images that are read at once.
_TOGETHER = 256
#: Variance along a direction in which the images do not differ; such a direction is arbitrary and explains nothing.
_ROUNDING = 1e-9


@dataclass(kw_only=True, eq=False)
class PCA(Detector["networks.statistics.PrincipalComponents"]):
    """The error of painting an image from the principal components of the normal ones.

    Map: squared error, averaged over channels. Score: the map's mean, or the largest value of the smoothed map.

    >>> PCA().get_params()["components"]
    30
    """

    title: ClassVar[str] = "Reconstruction from principal components"
    paper: ClassVar[str] = "a trivial baseline"
    family: ClassVar[str] = "reconstructs"
    good_for: ClassVar[str] = (
        "parts that lie alike; the linear autoencoder that a network has to beat; fitted in seconds"
    )
    has_map: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    components: int = setting(30, "principal components, where there are images for so many", low=1)
    small: int = setting(0, "longest side in pixels of the small copies that are reconstructed; 0: as they are", low=0)
    reduce: str = setting("mean", "the score from the map", choices=("mean", "largest"))

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.statistics.PrincipalComponents:
        return networks.statistics.PrincipalComponents(shape, self.components, self.reduce, self.small or None)

    def stages(self, scorer: networks.statistics.PrincipalComponents) -> Sequence[training.stage.Computation]:
        versions.require("train", "fitting PCA", "sklearn")
        from sklearn import decomposition

        def compute(context: training.stage.StageContext) -> dict[str, float]:
            size = scorer.get_buffer("mean").numel()
            most = max(2 * self.components, _MOST_VALUES // size)
            chosen = torch.randperm(len(context.train), generator=context.generator)[:most].sort().values
            parts = torch.split(chosen, _TOGETHER)
            images = torch.cat([scorer.downsample(context.train[part]).flatten(1).cpu() for part in parts])
            mean = images.mean(dim=0)
            model = decomposition.PCA(min(self.components, *images.shape), random_state=self.seed)
            with np.errstate(invalid="ignore"):  # images that are all alike have no variance to explain
                model.fit((images - mean).numpy())
            scorer.get_buffer("mean").copy_(mean)
            varied = model.components_[model.explained_variance_ > _ROUNDING]
            scorer.get_buffer("components")[: len(varied)].copy_(torch.from_numpy(varied))
            return {"explained variance": float(np.nan_to_num(model.explained_variance_ratio_.sum(), nan=1.0))}

        return [training.stage.Computation("fit", compute)]
