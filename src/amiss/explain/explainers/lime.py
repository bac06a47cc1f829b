"""LIME: a linear model of the score around one image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...lazy import torch
from ...settings import setting
from ..explainer import Attribution, Explainer, Question
from ..superpixels import attributed, superpixels, too_few


@dataclass(kw_only=True, eq=False)
class LIME(Explainer):
    """Superpixels are left or look as expected, at random; ridge regression tells what each adds to the score.

    Samples weigh by how near they are to the image: by an exponential kernel of the cosine distance between which
    superpixels are left and all of them, as in the authors' code for images. A pixel's value is the weight of its
    superpixel, in units of the largest calibration score.
    """

    title: ClassVar[str] = "a linear model of the score around the image"
    source: ClassVar[str] = "Ribeiro et al. 2016; Ravi 2021, thesis, eq. 3.19"
    limits: ClassVar[str] = "no finer than its superpixels; with few samples another seed gives another map"
    needs: ClassVar[tuple[str, ...]] = ("captum", "torch", "skimage", "sklearn")

    segments: int = setting(50, "superpixels, about", low=2)
    samples: int = setting(500, "changed images that are scored", low=10)
    kernel: float = setting(0.25, "width of the kernel; the smaller, the more the nearest samples count", low=0.01)
    ridge: float = setting(1e-3, "how much the linear model is held back", low=0.0)

    def attribute(self, question: Question) -> Attribution:
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime

        parts = superpixels(question.image, self.segments)
        attributions = attributed(
            Lime,
            question,
            parts,
            self.samples,
            self.seed,
            interpretable_model=SkLearnRidge(alpha=self.ridge),
            similarity_func=self._nearness,
        )
        return Attribution(attributions, notes=too_few(self.samples, parts))

    def _nearness(self, image: torch.Tensor, changed: torch.Tensor, left: torch.Tensor, **others: object) -> float:
        """How much a sample counts, from which superpixels (1, parts) it leaves."""
        distance = 1 - float(left.float().mean()) ** 0.5  # cosine distance from all ones
        return float(math.exp(-((distance / self.kernel) ** 2) / 2))
