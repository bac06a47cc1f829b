"""Training one method: its stages, on the parts of the images that may be learnt from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import networks, training
from ..data.clips import Clips, training_clips
from ..data.patches import cut_patches, foreground_patches
from ..data.preprocessing import to_float
from ..data.stack import Stack, allocate
from ..errors import UsageError
from ..lazy import torch
from ..recipe.context import FitContext, Trained
from ..recipe.recipe import Recipe

if TYPE_CHECKING:
    from ..networks.backbone import Features

#: Clips that choose the epoch; many more tell no more.
_STOP_CLIPS = 256


def train(recipe: Recipe[Any], context: FitContext) -> Trained:
    """Build a method's scorer and run its stages; the calibration part is not looked at.

    Raises:
        TrainingError: a loss that is not finite.
        UsageError: labelled anomalies where patches are learnt.
    """
    data = _training_data(recipe, context)
    shape = context.preprocessing.shape
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        scorer = recipe.build(*recipe.built_for(shape, context.backbone))
        stages = recipe.stages(scorer)
    device = training.choose.training_device(recipe.device)
    precision = training.choose.training_precision(recipe.precision, device, scorer)
    run = training.loop.RunSettings(
        recipe.seed, recipe.batch_size, device, precision, context.work_dir, context.resume, context.progress
    )
    outcome = training.loop.run_stages(scorer, stages, data, run)
    record = training.record.TrainingRecord(device=device, precision=precision, stages=outcome.records)
    return Trained(recipe.over_patches(recipe.finish(scorer), shape), record, outcome.warnings)


def _training_data(recipe: Recipe[Any], context: FitContext) -> training.loop.TrainingData:
    stack, splits, labelled = context.stack, context.splits, context.labelled
    if recipe.clip_length > 1:
        assert stack.firsts is not None  # frames of videos always have them
        frames, length = (stack.images, stack.firsts), recipe.training_length()
        return training.loop.TrainingData(
            training_clips(*frames, splits.train, length, recipe.clip_strides()),
            training_clips(*frames, splits.stop, length, most=_STOP_CLIPS),
        )
    train, stop = stack.images[splits.train], stack.images[splits.stop]
    if recipe.patch is not None:
        if labelled.anomalies is not None or labelled.validation is not None:
            raise UsageError("patches of labelled anomalies are mostly normal; set patch=none to use anomalies")
        train, stop = (_patches(recipe, recipe.patch, stack, part) for part in (splits.train, splits.stop))
    data = training.loop.TrainingData(train, stop, labelled.anomalies, labelled.validation, labelled.masks)
    if context.backbone is None:
        return data
    if recipe.takes_backbone:
        return dataclasses.replace(data, features=context.backbone)
    return _on_features(data, context.backbone)


def _on_features(data: training.loop.TrainingData, backbone: Features) -> training.loop.TrainingData:
    """The same with feature maps, which never change, in the images' place."""

    def of(images: NDArray[Any]) -> NDArray[Any]:
        return _feature_maps(backbone, images)

    assert not isinstance(data.train, Clips)  # methods of clips take no backbone
    assert not isinstance(data.stop, Clips)
    return dataclasses.replace(
        data,
        train=of(data.train),
        stop=of(data.stop),
        anomalies=None if data.anomalies is None else of(data.anomalies),
        validation=None if data.validation is None else (of(data.validation[0]), data.validation[1]),
    )


def _feature_maps(backbone: Features, images: NDArray[Any]) -> NDArray[Any]:
    """(n, d, h', w') of prepared images, computed once, a few at a time; large ones lie in a file."""
    found: NDArray[Any] | None = None
    with torch.no_grad():
        together = networks.backbone.TOGETHER
        for begin in range(0, len(images), together):
            part = backbone(torch.from_numpy(to_float(images[begin : begin + together]))).numpy()
            found = allocate(len(images), part[0]) if found is None else found
            found[begin : begin + len(part)] = part
    assert found is not None  # no part of the images is empty
    return found


def _patches(recipe: Recipe[Any], patch: tuple[int, int], stack: Stack, indices: NDArray[np.int64]) -> NDArray[Any]:
    images = stack.images[indices]
    if not recipe.foreground:
        return cut_patches(images, *patch, recipe.seed)
    if stack.firsts is None:
        raise UsageError("foreground is what differs from frame to frame: it needs video; set foreground=0")
    chosen = foreground_patches(images, stack.firsts[indices], *patch, recipe.foreground)
    return cut_patches(images, *patch, recipe.seed, chosen)
