"""A memory of normal patches: the plain choice on a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import anomalies, networks, training
from ..anomalies.kinds import VARIATIONS
from ..detectors.detector import Detector
from ..lazy import torch
from ..recipe.recipe import AUTO, Recipe
from ..settings import Words, preset, setting

#: Patch features among which the memory bank chooses, and views of each image where normal images vary.
_CANDIDATES, _VIEWS = 10_000, 4


@dataclass(kw_only=True, eq=False)
class PatchMemory(Detector["networks.memory_bank.MemoryBankScorer"]):
    """How far each patch of the image lies from the most similar patches of normal images.

    On the features of a backbone this is PatchCore: patch features of small places, thinned out to a greedy coreset;
    without one (`features=none`) a patch is one of pixels. Nothing is trained. Map: distance of each patch to its
    nearest neighbours in the memory bank. Score: mean of the highest distances, as the largest alone is ruled by
    chance.

    Patch features are compared as their principal components. With `whitening` w, each is divided by the root of its
    variance plus w times the mean variance: w small, and all components count alike; w large, and they count as they
    vary. Where `vary` says so, normal images are learnt in several views.

    >>> PatchMemory().get_params()["kept"]
    1000
    """

    title: ClassVar[str] = "A memory of normal patches"
    paper: ClassVar[str] = "after PatchCore, Roth et al. 2022"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "small defects, and where they are; seconds to fit"
    has_map: ClassVar[bool] = True
    takes_backbone: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    features: str | None = preset(Recipe, "features", AUTO)
    kept: int = setting(1000, "patches of normal images that the memory bank keeps", low=1)
    neighbours: int = setting(1, "nearest kept patches whose distances are averaged", low=1)
    components: int = setting(128, "principal components of the features in which patches are compared", low=1)
    whitening: float = setting(
        0.5, "what is added to the variance of each component, as a share of their mean, before it scales", low=0.0
    )
    vary: tuple[str, ...] = setting(
        (), "how normal images vary, with commas between: rotate, shift, flip, light; or none", kind=Words(VARIATIONS)
    )
    top: float = setting(0.05, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)
    pixels: int = setting(5, "side of the patches of pixels, where there is no backbone", low=1)
    grid: int = setting(4, "pixels from one patch to the next, where there is no backbone", low=1)

    @classmethod
    def varied_settings(cls, vary: tuple[str, ...]) -> dict[str, Any]:
        return {"vary": vary}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.memory_bank.MemoryBankScorer:
        front: torch.nn.Module | None = None
        if backbone is None:
            front = networks.memory_bank.PixelPatches(shape[0], self.pixels, self.grid)
            channels, size = front.channels, shape[1:]
        else:
            channels, size = len(backbone.local), backbone.shape[1:]
            if channels < backbone.shape[0]:
                front = networks.memory_bank.Channels(backbone.local)
        memory = networks.memory_bank.MemoryBank(channels, self.components, self.neighbours)
        return networks.memory_bank.MemoryBankScorer(memory, size, self.top, front, averaged=backbone is not None)

    def stages(self, scorer: networks.memory_bank.MemoryBankScorer) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[:_CANDIDATES]
            views = _VIEWS if self.vary else 1
            each = -(-_CANDIDATES // (len(chosen) * views))
            candidates = []
            for part in torch.split(chosen.repeat(views), 64):
                if self.vary:
                    images = anomalies.variation.varied(context.train[part], context.generator, self.vary)
                    features = context.features(images)
                else:
                    features = context.train_features(part)
                patches = scorer.patch_features(features)
                candidates.append(networks.memory_bank.sample_patch_features(patches, each, context.generator))
            scorer.memory.fit(torch.cat(candidates), self.kept, context.generator, self.whitening)
            return {"kept": float(len(scorer.memory.get_buffer("kept")))}

        return [training.stage.Computation("fit", compute)]
