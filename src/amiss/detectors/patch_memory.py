"""A memory of normal patches: the plain choice on a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import nn

    from ..training.stage import Computation, Pass, Stage

#: Places among which the memory chooses.
_CANDIDATES = 10_000


@dataclass(kw_only=True, eq=False)
class PatchMemory(Detector):
    """How far each place of the image lies from the most similar places of normal images.

    On the features of a backbone (`features=FILE`) this is PatchCore's idea, with a random choice thinned out to a
    coreset; without one a place is a patch of pixels. Nothing is trained. Map: distance of each place. Score: mean of
    the highest places, as the largest alone is ruled by chance.

    >>> PatchMemory().get_params()["kept"]
    1000
    """

    title: ClassVar[str] = "A memory of normal patches"
    paper: ClassVar[str] = "after PatchCore, Roth et al. 2022"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "small defects where you have a pretrained backbone: set features=FILE; seconds to fit"
    has_map: ClassVar[bool] = True
    excused_checks: ClassVar[dict[str, str]] = {
        "resumes_to_the_same_result": "it is fitted in one step, so a fit cannot be broken off between epochs",
    }

    kept: int = setting(1000, "normal places that are kept", low=1)
    neighbours: int = setting(1, "nearest kept places whose distances are averaged", low=1)
    components: int = setting(128, "principal components of the features in which places are compared", low=1)
    top: float = setting(0.1, "share of the places, the highest, whose mean is the score", low=0.0, high=1.0)
    pixels: int = setting(5, "side of the patches of pixels, where there is no backbone", low=1)
    grid: int = setting(4, "pixels from one patch to the next, where there is no backbone", low=1)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.places import PlaceMemory, PlaceScorer, Unfolded

        front = Unfolded(shape[0], self.pixels, self.grid) if self.features == "none" else None
        channels = shape[0] if front is None else front.channels
        return PlaceScorer(PlaceMemory(channels, self.components, self.neighbours), shape[1:], self.top, front)

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        import torch

        from ..networks.places import some_places
        from ..training.stage import Computation

        def compute(seen: Pass) -> dict[str, float]:
            chosen = torch.randperm(len(seen.train), generator=seen.generator)[:_CANDIDATES]
            each = -(-_CANDIDATES // len(chosen))
            places = []
            for part in torch.split(chosen, 64):
                places.append(some_places(scorer.features(seen.train[part]), each, seen.generator))
            scorer.memory.remember(torch.cat(places), self.kept, seen.generator)
            return {"kept": float(len(scorer.memory.kept))}

        return [Computation("fit", compute)]
