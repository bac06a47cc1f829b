"""Nearest neighbours on small images: a trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import nn

    from ..training.stage import Computation, Pass, Stage


@dataclass(kw_only=True, eq=False)
class KNN(Detector):
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
    excused_checks: ClassVar[dict[str, str]] = {
        "resumes_to_the_same_result": "it is fitted in one step, so a fit cannot be broken off between epochs",
    }

    neighbours: int = setting(3, "nearest normal images whose distances are averaged", low=1)
    small: int = setting(32, "longest side of the small copies, in pixels", low=2)
    kept: int = setting(5000, "normal images kept, drawn at random where there are more", low=1)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.neighbours import Neighbours

        return Neighbours(shape, self.small, self.neighbours)

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        import torch

        from ..training.stage import Computation

        def compute(seen: Pass) -> dict[str, float]:
            chosen = torch.randperm(len(seen.train), generator=seen.generator)[: self.kept].sort().values
            scorer.remember(torch.cat([scorer.small(seen.train[part]) for part in torch.split(chosen, 256)]))
            return {"kept": float(len(chosen))}

        return [Computation("fit", compute)]
