"""The largest gradient in an image: a trivial baseline that learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Detector

if TYPE_CHECKING:
    from torch import nn

    from ..training.stage import Computation, Stage


@dataclass(kw_only=True, eq=False)
class Gradient(Detector):
    """How steep the steepest edge is; normal images serve for nothing but calibration.

    Map: magnitude of the Sobel gradient after smoothing over 3x3 pixels, of the channel where it is largest, in
    brightness a pixel. Score: its largest value.

    >>> Gradient().has_map
    True
    """

    title: ClassVar[str] = "Largest gradient"
    paper: ClassVar[str] = "a trivial baseline"
    family: ClassVar[str] = "looks for edges"
    good_for: ClassVar[str] = "scratches, chips and holes on smooth surfaces; learns nothing of what is normal"
    has_map: ClassVar[bool] = True
    excused_checks: ClassVar[dict[str, str]] = {
        "learns": "it learns nothing",
        "same_seed_same_scores": "it learns nothing, so that the seed changes nothing",
        "resumes_to_the_same_result": "it is fitted in one step, so a fit cannot be broken off between epochs",
    }

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.statistics import EdgeStrength

        return EdgeStrength()

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        from ..training.stage import Computation

        return [Computation("fit", lambda seen: {})]
