"""Layer-wise relevance propagation: the score, passed back layer by layer to the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ... import explain, networks
from ...lazy import torch
from ...settings import setting
from ..explainable import Explainable
from ..explainer import Attribution, Explainer, Question


@dataclass(kw_only=True, eq=False)
class LRP(Explainer):
    """Every layer shares its relevance among its inputs by what each added to its output (epsilon rule).

    Batch normalisation is a linear layer, and so is group normalisation, whose statistics count as given. LeakyReLU and
    sigmoid pass relevance on; the squared error behind an autoencoder shares it between image and reconstruction. Gates
    and squeeze-excitation count as given weights. A pixel's value is summed over channels, in units of the largest
    calibration score. Biases absorb relevance; a note says how much. Of patches, those are explained that make the
    score.
    """

    title: ClassVar[str] = "the score, passed back layer by layer"
    source: ClassVar[str] = "Bach et al. 2015; Ravi 2021, thesis, eq. 3.18"
    limits: ClassVar[str] = "grainy, and often little of the score arrives: the note says how much biases absorb"
    needs: ClassVar[tuple[str, ...]] = ("captum", "torch", "safetensors")

    epsilon: float = setting(1e-6, "added to denominators, against division by next to nothing", low=1e-12)

    def refusal(self, model: Explainable) -> str | None:
        if not model.engine.name.startswith("torch"):
            return "LRP goes through the layers of torch; load the model with engine=torch, or explain with occlusion"
        try:
            _network(model)
        except NotImplementedError as reason:
            return f"LRP has no rule for {reason} of {model.label}; explain it with occlusion or shap"
        return None

    def attribute(self, question: Question) -> Attribution:
        network, scorer = _network(question.model), question.model.torch_scorer()
        image = torch.from_numpy(question.image)
        question.count_pass()
        if isinstance(scorer, networks.patch_scorer.PatchScorer):
            relevance, arrived, score = _of_patches(scorer, network, image, self.epsilon)
        else:
            found, scores = explain.relevance.relevance(network, image[None], self.epsilon)
            relevance, arrived, score = found[0].sum(dim=0).numpy(), float(found.sum()), float(scores[0])
        note = f"the relevances add up to {arrived:.4g} and the score is {score:.4g}: biases account for the difference"
        return Attribution((relevance / question.unit).astype(np.float32), notes=[note])


def _network(model: Explainable) -> torch.nn.Module:
    if model.clip_length > 1:
        raise NotImplementedError("clips")
    scorer = model.torch_scorer()
    return explain.relevance.explained_network(
        scorer.inner if isinstance(scorer, networks.patch_scorer.PatchScorer) else scorer
    )


def _of_patches(
    scorer: networks.patch_scorer.PatchScorer, network: torch.nn.Module, image: torch.Tensor, epsilon: float
) -> tuple[NDArray[Any], float, float]:
    """Relevance (h, w) of the patches that make the score, how much of it arrives, and the score."""
    patches, corners = scorer.cut(image)
    with torch.inference_mode():
        scores = torch.cat([scorer.inner(batch)["score"] for batch in torch.split(patches, 256)])
    moving = torch.ones_like(scores, dtype=torch.bool)
    if scorer.foreground is not None:
        moving = scorer.foreground(image[None]).flatten()
        scores = torch.where(moving, scores, scorer.get_buffer("background_values")[0])
    chosen = scores.topk(scorer.top).indices.tolist()
    relevance, arrived = np.zeros(image.shape[1:]), 0.0
    for index in chosen:
        if not moving[index]:
            continue  # its score is a constant
        found = explain.relevance.relevance(network, patches[index : index + 1], epsilon)[0][0] / len(chosen)
        top, left = corners[index]
        relevance[top : top + found.shape[1], left : left + found.shape[2]] += found.sum(dim=0).numpy()
        arrived += float(found.sum())
    return relevance, arrived, float(scores[chosen].mean())
