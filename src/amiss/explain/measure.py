"""How far explanations can be trusted: against masks, the score, noise, and shuffled weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Collection
from ..data.masks import read_mask
from ..data.preprocessing import to_float
from ..data.stack import Prepared
from ..environment import versions
from ..errors import DataError, MaskShapeError, UsageError
from ..lazy import torch
from ..metrics.explanations import agreement_with_masks, area_above, rank_correlation
from ..progress import Progress, silent
from . import explainer_names, get_explainer
from .explainable import Explainable
from .explainer import Explainer, Question
from .explanation import Explanation
from .filling import filling

#: Shares of the image at which deletion and insertion look: closer where a defect ends.
_SHARES = np.linspace(0, 1, 12) ** 2
#: Deviation of the noise that an explanation should hardly notice.
_NOISE = 0.02
#: Images whose explanation is repeated with noise and with shuffled weights.
_REPEATED = 8
#: What correlates more than this with the explanation of a network of shuffled weights does not explain the network.
_INDIFFERENT = 0.5


@dataclass
class _Found:
    """What the images seen so far say of one explainer."""

    explainer: Explainer
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)
    deletion: list[float] = field(default_factory=list)
    insertion: list[float] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)
    stability: list[float] = field(default_factory=list)
    shuffled: list[float] = field(default_factory=list)


def measure_explanations(
    model: Explainable,
    collection: Collection,
    names: Sequence[str],
    *,
    images: int = 40,
    seed: int = 0,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Explain labelled anomalies with several explainers, and measure the explanations.

    Args:
        model: fitted.
        collection: labelled images; of the anomalies some are chosen at random, by `seed`.
        names: of explainers, or `all` that suit the model.
        images: how many anomalies.
        seed: also of the explainers.
        progress: told what is done of how much.

    Returns: for each explainer how many `images` were explained and how many were `unreadable`; `pixel_auroc`,
    `au_pro`, `average_precision`, `pointing` and `best_iou` against masks
    (None without masks); `deletion` (lower is better) and `insertion` (higher is better), areas under the curve of the
    score while the pixels that matter most come to look as expected, or come back, as a share of what the score has
    above that of the expected image, over the images where it is above (None without any); `stability`, the rank
    correlation with the map under noise of deviation 0.02, and `shuffled`, that with the map of the same model with
    shuffled weights (None without torch), each over eight images; `indifferent`, where the latter is above 0.5;
    `made_normal`, the share of flagged images that are no longer flagged when the marked pixels look as expected, and
    `marked`, their share of the image; `milliseconds` and `passes` for an image.

    Raises:
        UsageError: an explainer does not exist or does not suit the model.
        DataError: no labelled anomaly can be read, or a mask has another shape than its image.
    """
    found = [_Found(explainer) for explainer in suitable_explainers(model, names, seed)]
    anomalies = np.flatnonzero([item.anomalous is True for item in collection])
    if not len(anomalies):
        raise DataError(f"{collection.title} holds no labelled anomaly to explain; put some in folders beside good/")
    wanted = set(np.random.default_rng(seed).permutation(anomalies)[:images].tolist())
    masks: list[NDArray[np.bool_] | None] = []
    shuffled = _shuffled(model, seed)
    rng = np.random.default_rng(seed)
    total = len(wanted) * len(found)
    clips = model.clip_length > 1  # these need the frames before theirs
    chosen = collection if clips else [collection[index] for index in sorted(wanted)]
    unreadable = 0
    for index, prepared in enumerate(model.inputs(chosen)):
        if clips and index not in wanted:
            continue
        if prepared.image is None:
            unreadable += 1
            total -= len(found)
            continue
        image = to_float(prepared.image)
        noisy = (image + _NOISE * rng.standard_normal(image.shape)).clip(0, 1).astype(np.float32)
        masks.append(_mask(prepared, model))
        for done, each in enumerate(found, start=(len(masks) - 1) * len(found) + 1):
            _explain(each, model, shuffled, image, noisy, repeated=len(masks) <= _REPEATED)
            progress("explain", done, total, "")
    if not masks:
        raise DataError(f"no anomaly of {collection.title} could be read")
    return [_measured(each, masks, unreadable) for each in found]


def suitable_explainers(model: Explainable, names: Sequence[str], seed: int = 0) -> list[Explainer]:
    """Explainers by name, or, for `all`, those that suit the model. Raises `UsageError` where one does not."""
    everything = list(names) == ["all"]
    explainers = []
    for name in explainer_names() if everything else names:
        explainer = get_explainer(name)(seed=seed)
        try:
            explainer.check(model)
        except UsageError:
            if not everything:
                raise
            continue
        explainers.append(explainer)
    return explainers


def _explain(
    found: _Found,
    model: Explainable,
    shuffled: Explainable | None,
    image: NDArray[np.float32],
    noisy: NDArray[np.float32],
    repeated: bool,
) -> None:
    explainer = found.explainer
    expected = filling(model, image, explainer.fill)
    explanation = explainer.explain(model, image, expected=expected)
    found.explanations.append(explanation)
    found.maps.append(explanation.map)
    question = Question(model, image, expected)
    start, end = question.scores(np.stack([image, expected])).tolist()
    if start > end:
        masks = _highest(explanation.map)
        deletion, insertion = question.without(masks), question.without(~mask for mask in masks)
        found.deletion.append(area_above(_SHARES, deletion, end))
        found.insertion.append(area_above(_SHARES, insertion, end))
        found.spans.append(start - end)
    if repeated:
        again = explainer.explain(model, noisy, expected=expected)
        found.stability.append(rank_correlation(explanation.map, again.map))
        if shuffled is not None:
            other = explainer.explain(shuffled, image, expected=expected)
            found.shuffled.append(rank_correlation(explanation.map, other.map))


def _highest(attribution: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """For each of the shares, that share of the pixels, the highest first."""
    rank = np.empty(attribution.size, dtype=np.int64)
    rank[np.argsort(-attribution.ravel(), kind="stable")] = np.arange(attribution.size)
    return [(rank < round(share * attribution.size)).reshape(attribution.shape) for share in _SHARES]


def _shuffled(model: Explainable, seed: int) -> Explainable | None:
    """The model with every tensor of its scorer shuffled (Adebayo et al. 2018 randomise them)."""
    if not model.engine.name.startswith("torch") or not versions.have("torch"):
        return None
    scorer = copy.deepcopy(model.torch_scorer())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in scorer.state_dict().values():
            if value.is_floating_point() and value.numel() > 1:
                value.copy_(value.flatten()[torch.randperm(value.numel(), generator=generator)].view_as(value))
    return model.with_scorer(scorer)


def _mask(prepared: Prepared, model: Explainable) -> NDArray[np.bool_] | None:
    item = prepared.item
    if item.mask is None:
        return None
    try:
        mask = read_mask(item.mask, model.preprocessing, item.name, prepared.size)
    except MaskShapeError:
        raise
    except DataError:
        return None
    return mask if mask.any() else None


def _measured(found: _Found, masks: Sequence[NDArray[np.bool_] | None], unreadable: int) -> dict[str, Any]:
    pairs = [(attribution, mask) for attribution, mask in zip(found.maps, masks, strict=True) if mask is not None]
    keys = ("pixel_auroc", "au_pro", "average_precision", "pointing", "best_iou")
    agreement = agreement_with_masks(*map(list, zip(*pairs, strict=True))) if pairs else dict.fromkeys(keys)
    flagged = [each for each in found.explanations if each.is_anomaly]
    shuffled = _mean(found.shuffled)
    return {
        "explainer": found.explainer.registry_name(),
        "images": len(found.maps),
        "unreadable": unreadable,
        "with_masks": len(pairs),
        **agreement,
        "deletion": sum(found.deletion) / sum(found.spans) if found.spans else None,
        "insertion": sum(found.insertion) / sum(found.spans) if found.spans else None,
        "stability": _mean(found.stability),
        "shuffled": shuffled,
        "indifferent": None if shuffled is None else shuffled > _INDIFFERENT,
        "flagged": len(flagged),
        "made_normal": _mean([float(not each.replaced.is_anomaly) for each in flagged]),
        "marked": _mean([float(each.mask.mean()) for each in found.explanations]),
        "milliseconds": 1000 * float(np.mean([each.seconds for each in found.explanations])),
        "passes": float(np.mean([each.passes for each in found.explanations])),
        "settings": found.explainer.get_params(),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
