"""The baseline of explanations: how the image differs from what would be expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..explainer import Attribution, Explainer, Question


@dataclass(kw_only=True, eq=False)
class Difference(Explainer):
    """Absolute difference between the image and what stands in for it, averaged over channels and frames. The score is
    not asked, so what is no better than this explains the image rather than the score.
    """

    title: ClassVar[str] = "how the image differs from the expected one; the baseline"
    source: ClassVar[str] = "amiss's own"
    limits: ClassVar[str] = "does not ask the score"

    def attribute(self, question: Question) -> Attribution:
        differences = np.abs(question.image - question.expected)
        return Attribution(differences.reshape(-1, *question.size).mean(axis=0))
