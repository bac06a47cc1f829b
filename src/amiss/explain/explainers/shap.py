"""Kernel SHAP: how the score is shared among the parts of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...settings import setting
from ..explainer import Attribution, Explainer, Question
from ..superpixels import attributed, superpixels, too_few


@dataclass(kw_only=True, eq=False)
class SHAP(Explainer):
    """Shapley values of superpixels: what each adds to the score, on average over all orders in which they could be
    added to the expected image; from a weighted regression on random coalitions (eq. 3.20 gives the weights).

    All values together make the difference between the score and that of the expected image. A pixel's value is that
    of its superpixel, in units of the largest calibration score.
    """

    title: ClassVar[str] = "how the score is shared among parts of the image"
    source: ClassVar[str] = "Lundberg and Lee 2017; Ravi 2021, thesis, eq. 3.20"
    limits: ClassVar[str] = "no finer than its superpixels; with few samples another seed gives another map"
    needs: ClassVar[tuple[str, ...]] = ("captum", "torch", "skimage", "sklearn")

    segments: int = setting(50, "superpixels, about", low=2)
    samples: int = setting(500, "changed images that are scored", low=10)

    def attribute(self, question: Question) -> Attribution:
        from captum.attr import KernelShap

        parts = superpixels(question.image, self.segments)
        attributions = attributed(KernelShap, question, parts, self.samples, self.seed)
        return Attribution(attributions, notes=too_few(self.samples, parts))
