"""Training one method: its stages, on the parts of the images that may be learnt from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import networks, training
from ..data.clips import Clips, training_clips
from ..data.patches import cut_patches, still_background
from ..data.preprocessing import to_float
from ..errors import UsageError
from ..lazy import torch
from ..recipe.context import FitContext, Trained, feature_maps
from ..recipe.recipe import Recipe

#: Clips that choose the epoch; many more tell no more.
_STOP_CLIPS = 256
#: Foreground patches of which the most normal one is found.
_BACKGROUND_AMONG = 2000
#: Frames in which foreground is looked for at once.
_FRAMES_TOGETHER = 64


def train(recipe: Recipe[Any], context: FitContext) -> Trained:
    """Build a method's scorer and run its stages; the calibration part is not looked at.

    Raises:
        TrainingError: a loss that is not finite.
        UsageError: labelled anomalies where patches are learnt.
    """
    shape = context.preprocessing.shape
    background = _background(recipe, context) if recipe.foreground else None
    data = _training_data(recipe, context, background)
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
    whole = recipe.over_patches(recipe.finish(scorer), shape)
    if background is not None:
        assert isinstance(whole, networks.patch_scorer.PatchScorer)
        assert isinstance(data.train, np.ndarray)
        some = data.train[:: max(1, len(data.train) // _BACKGROUND_AMONG)]
        whole.fit_foreground(background, torch.from_numpy(to_float(some)))
    return Trained(whole, record, outcome.warnings)


def _background(recipe: Recipe[Any], context: FitContext) -> torch.Tensor:
    """(c, h, w) of the training frames; the parts that stop and calibrate are not looked at."""
    stack, chosen = context.stack, context.splits.train
    if stack.firsts is None:
        raise UsageError("foreground is what differs from frame to frame: it needs video; set foreground=0")
    return torch.from_numpy(still_background(stack.images[chosen], stack.firsts[chosen]))


def _training_data(
    recipe: Recipe[Any], context: FitContext, background: torch.Tensor | None
) -> training.loop.TrainingData:
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
        train, stop = (
            _patches(recipe, recipe.patch, stack.images[part], background) for part in (splits.train, splits.stop)
        )
    data = training.loop.TrainingData(train, stop, labelled.anomalies, labelled.validation, labelled.masks)
    if context.backbone is None:
        return data
    if recipe.takes_backbone:
        stored = None if context.stored is None else (context.stored.maps, splits.train)
        return dataclasses.replace(data, features=context.backbone, stored=stored)
    return _on_features(data, context)


def _on_features(data: training.loop.TrainingData, context: FitContext) -> training.loop.TrainingData:
    """The same with feature maps, which never change, in the images' place."""
    if context.stored is not None:  # labelled images are for methods with epochs, which hold images out
        return dataclasses.replace(
            data, train=context.stored.maps[context.splits.train], stop=context.stored.maps[context.splits.stop]
        )

    def of(images: NDArray[Any]) -> NDArray[Any]:
        assert context.backbone is not None
        return feature_maps(context.backbone, images)

    assert not isinstance(data.train, Clips)  # methods of clips take no backbone
    assert not isinstance(data.stop, Clips)
    return dataclasses.replace(
        data,
        train=of(data.train),
        stop=of(data.stop),
        anomalies=None if data.anomalies is None else of(data.anomalies),
        validation=None if data.validation is None else (of(data.validation[0]), data.validation[1]),
    )


def _patches(
    recipe: Recipe[Any], patch: tuple[int, int], images: NDArray[Any], background: torch.Tensor | None
) -> NDArray[Any]:
    if background is None:
        return cut_patches(images, *patch, recipe.seed)
    channels, height, width = background.shape
    foreground = networks.patch_scorer.Foreground((channels, height, width), *patch, recipe.foreground)
    foreground.set_background(background)
    parts = np.array_split(images, -(-len(images) // _FRAMES_TOGETHER))
    chosen = torch.cat([foreground(torch.from_numpy(to_float(part))) for part in parts])
    return cut_patches(images, *patch, recipe.seed, chosen.numpy())
