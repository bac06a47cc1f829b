"""The largest gradient in an image: a trivial baseline that learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector


@dataclass(kw_only=True, eq=False)
class Gradient(Detector["networks.statistics.EdgeStrength"]):
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
    has_epochs: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.statistics.EdgeStrength:
        return networks.statistics.EdgeStrength()

    def stages(self, scorer: networks.statistics.EdgeStrength) -> Sequence[training.stage.Computation]:
        return [training.stage.Computation("fit", lambda context: {})]
