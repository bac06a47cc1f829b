"""A memory of normal patches: the plain choice on a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import setting

#: Patch features among which the memory bank chooses.
_CANDIDATES = 10_000


@dataclass(kw_only=True, eq=False)
class PatchMemory(Detector["networks.memory_bank.MemoryBankScorer"]):
    """How far each patch of the image lies from the most similar patches of normal images.

    On the features of a backbone (`features=FILE`) this is PatchCore's idea, with a random choice thinned out to a
    coreset; without one a patch is one of pixels. Nothing is trained. Map: distance of each patch to its nearest
    neighbours in the memory bank. Score: mean of the highest distances, as the largest alone is ruled by chance.

    >>> PatchMemory().get_params()["kept"]
    1000
    """

    title: ClassVar[str] = "A memory of normal patches"
    paper: ClassVar[str] = "after PatchCore, Roth et al. 2022"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "small defects where you have a pretrained backbone: set features=FILE; seconds to fit"
    has_map: ClassVar[bool] = True
    takes_backbone: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    kept: int = setting(1000, "patches of normal images that the memory bank keeps", low=1)
    neighbours: int = setting(1, "nearest kept patches whose distances are averaged", low=1)
    components: int = setting(128, "principal components of the features in which patches are compared", low=1)
    top: float = setting(0.1, "share of the map, its highest values, whose mean is the score", low=0.0, high=1.0)
    pixels: int = setting(5, "side of the patches of pixels, where there is no backbone", low=1)
    grid: int = setting(4, "pixels from one patch to the next, where there is no backbone", low=1)

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.memory_bank.MemoryBankScorer:
        front: networks.memory_bank.PixelPatches | None = None
        if backbone is None:
            front = networks.memory_bank.PixelPatches(shape[0], self.pixels, self.grid)
            channels, size = front.channels, shape[1:]
        else:
            channels, size = backbone.shape[0], backbone.shape[1:]
        memory = networks.memory_bank.MemoryBank(channels, self.components, self.neighbours)
        return networks.memory_bank.MemoryBankScorer(memory, size, self.top, front)

    def stages(self, scorer: networks.memory_bank.MemoryBankScorer) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[:_CANDIDATES]
            each = -(-_CANDIDATES // len(chosen))
            candidates = []
            for part in torch.split(chosen, 64):
                features = context.features(context.train[part]).contiguous(memory_format=torch.channels_last)
                patches = scorer.patch_features(features)
                candidates.append(networks.memory_bank.sample_patch_features(patches, each, context.generator))
            scorer.memory.fit(torch.cat(candidates), self.kept, context.generator)
            return {"kept": float(len(scorer.memory.get_buffer("kept")))}

        return [training.stage.Computation("fit", compute)]
