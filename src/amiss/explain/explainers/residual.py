"""The method's own map: where the image differs from what the model makes of it, or what it answers for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..explainable import Explainable
from ..explainer import Attribution, Explainer, Question


@dataclass(kw_only=True, eq=False)
class Residual(Explainer):
    """The map that the method gives with every score, at one pass."""

    title: ClassVar[str] = "the method's own map"
    source: ClassVar[str] = "Ravi 2021, thesis, 3.8 (what the others are compared with)"
    limits: ClassVar[str] = "shows where the model errs, which need not be where the image is wrong"

    def refusal(self, model: Explainable) -> str | None:
        if model.gives_map:
            return None
        return f"{model.label} has no map of its own; explain it with occlusion"

    def attribute(self, question: Question) -> Attribution:
        anomaly_map = question.map()
        assert anomaly_map is not None  # `refusal` looked
        return Attribution(anomaly_map)
