"""The images of a fit: opened, prepared, divided."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import networks
from ..data import Collection, Images, open_images
from ..data.clips import blocks, runs, video_of
from ..data.drawn_region import read_region
from ..data.labelled import Labelled
from ..data.preprocessing import Preprocessing, infer_preprocessing, to_float
from ..data.splits import Splits, split_folds, split_normals
from ..data.stack import Stack, load_stack, sample_pixels
from ..environment.files import make_folder, write_text
from ..errors import DataError, TrainingError
from ..lazy import torch
from ..model.facts import PRETRAINED
from ..progress import Progress
from ..recipe.context import FitContext, StoredFeatures, feature_means
from ..recipe.recipe import Recipe
from . import near_copies

if TYPE_CHECKING:
    from ..networks.backbone import Backbone, Features

#: So many images tell colour and size; with size=native all must share one, so all are looked at.
_SAMPLES = 64
#: Images that tell the scale of a backbone's features.
_SCALED_BY = 64
#: From which share on near copies are told of.
_MANY = 0.5
_COPIES = (
    "{} of {} images are as near to another as exposures of one item are, and were held out together; a groups.csv "
    "that names the item of each would be surer"
)
#: Raised when checkpoints of an earlier version can no longer be gone on from.
_CHECKPOINTS = 3


def open_normal(x: Images) -> Collection:
    """The normal images to learn from. Raises `DataError` where there are none."""
    collection = open_images(x, "fit").normal
    if not len(collection):
        raise DataError(f"{collection.title} holds no normal image; nothing can be learnt from it")
    return collection


def prepare(
    recipe: Recipe[Any],
    collection: Collection,
    anomalies: Images | None,
    validation: Images | None,
    work_dir: Path | None,
    resume: bool,
    progress: Progress,
    strict: bool = False,
) -> FitContext:
    """Everything that training may use; `strict` makes an error of an image that cannot be read.

    Raises:
        DataError: images that cannot be read, or too few.
        UsageError: a backbone that cannot be used.
        TrainingError: `work_dir` was left by a fit with other images or settings.
    """
    backbone = _backbone(recipe)
    preprocessing = _preprocessing(recipe, collection, backbone)
    stack = load_stack(collection, preprocessing, progress)
    if stack.unreadable and strict:
        raise DataError(stack.unreadable[0][1])
    features = None if backbone is None else networks.backbone.Features(backbone, preprocessing.shape)
    stored = None
    if features is not None and recipe.cross_calibrates(len(stack.images)):
        stored = StoredFeatures(_scaled(features, stack.images), stack.images)
    alike, notes = _near_copies(stack, features, stored)
    stack, splits, folds = _divided(recipe, stack, alike)
    labelled = Labelled.load(anomalies, validation, preprocessing, stack.digests, progress)
    if features is not None and stored is None:
        features = _scaled(features, stack.images[splits.train])
    context = FitContext(
        preprocessing, stack, splits, labelled, features, work_dir, resume, progress, tuple(folds), stored, notes
    )
    if work_dir is not None:
        _claim(recipe, context, work_dir)
    return context


def _backbone(recipe: Recipe[Any]) -> Backbone | None:
    if recipe.backbone is None:
        return None
    if recipe.backbone not in PRETRAINED:
        return networks.backbone.Backbone.read(recipe.backbone)
    wanted = recipe.wanted_features()
    return networks.backbone.Backbone.named(recipe.backbone, "local" in wanted, "whole" in wanted)


def _preprocessing(recipe: Recipe[Any], collection: Collection, backbone: Backbone | None) -> Preprocessing:
    samples = sample_pixels(collection, len(collection) if recipe.size == "native" else _SAMPLES)
    first = next(samples, None)
    if first is None:
        load_stack(collection[:1], Preprocessing("rgb", 32, 32))  # raises with the reason
        raise DataError(f"no image of {collection.title} could be read")
    aspect: Literal["stretch", "keep"] = "keep" if recipe.aspect == "keep" else "stretch"
    pretrained = recipe.backbone in PRETRAINED
    found = infer_preprocessing(itertools.chain([first], samples), recipe.size, aspect, enlarged=pretrained)
    if recipe.region or recipe.ignore:
        again = sample_pixels(collection, _SAMPLES)
        found = dataclasses.replace(found, roi=read_region(recipe.region, recipe.ignore, again))
    if backbone is None or recipe.size != "auto":
        return found
    height, width = backbone.suitable(found.height, found.width)
    return dataclasses.replace(found, height=height, width=width)


def _near_copies(
    stack: Stack, features: Features | None, stored: StoredFeatures | None
) -> tuple[list[int] | None, list[str]]:
    """Which images look like further ones of others, as far as a backbone tells, and a note where most do."""
    n = len(stack.images)
    told = any(item.video is not None for item in stack.items)  # frames have blocks of their own
    if features is None or told or not near_copies.FEWEST <= n <= near_copies.MOST:
        return None, []
    means = feature_means(features, stack.images) if stored is None else stored.means
    alike = near_copies.near_copies(means)
    sizes = np.bincount(alike)
    share = float(np.mean(sizes[alike] > 1))
    return alike.tolist(), [_COPIES.format(round(share * n), n)] if share >= _MANY else []


def _divided(
    recipe: Recipe[Any], stack: Stack, alike: list[int] | None
) -> tuple[Stack, Splits, list[NDArray[np.int64]]]:
    """The stack, told which frames follow each other, its three parts, and the folds of a cross-calibration."""
    groups: list[str | None] = [item.group for item in stack.items]
    # still images of a folder are frames only to what sees clips
    frames = [i for i, item in enumerate(stack.items) if recipe.clip_length > 1 or item.video is not None]
    if frames:
        for index, block in zip(frames, blocks([video_of(stack.items[i]) for i in frames]), strict=True):
            groups[index] = block
        stack = dataclasses.replace(stack, groups=groups, firsts=runs(stack.items, groups))
    folds: list[NDArray[np.int64]] = []
    if recipe.cross_calibrates(len(stack.images)):
        folds = split_folds(groups, stack.digests, recipe.seed, alike)
        everything = np.arange(len(stack.images))
        splits = Splits(everything, everything[:0], everything)
    else:
        splits = split_normals(groups, stack.digests, recipe.seed, alike)
    if recipe.clip_length == 1:
        splits = dataclasses.replace(splits, calibrate=_without_copies(splits.calibrate, stack.digests))
    return stack, splits, folds


def _without_copies(indices: NDArray[np.int64], digests: Sequence[str]) -> NDArray[np.int64]:
    """The first of every set of equal images: copies would count as evidence that they are not."""
    _, first = np.unique([digests[index] for index in indices], return_index=True)
    return indices[np.sort(first)]


def _scaled(features: Features, images: NDArray[Any]) -> Features:
    some = torch.from_numpy(to_float(images[:: max(1, len(images) // _SCALED_BY)]))
    with torch.no_grad():
        features.fit_scale(torch.split(some, networks.backbone.TOGETHER))
    return features


def _claim(recipe: Recipe[Any], context: FitContext, work_dir: Path) -> None:
    """Checkpoints of other data or settings are never continued."""
    stack, backbone = context.stack, context.backbone
    claim = {
        "checkpoints": _CHECKPOINTS,
        "method": type(recipe).__name__,
        "settings": recipe.settings_as_text(),
        "preprocessing": context.preprocessing.to_dict(),
        "backbone": None if backbone is None else hashlib.sha256(backbone.backbone.graph).hexdigest(),
        "images": digest_of(
            [f"{digest} {item.group}" for digest, item in zip(stack.digests, stack.items, strict=True)]
        ),
        "anomalies": None if context.labelled.anomalies is None else len(context.labelled.anomalies),
        "labelled": digest_of(context.labelled.digests),
    }
    path = work_dir / "run.json"
    if context.resume and path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            kept["settings"] = recipe.completed(kept["settings"])
            same = kept == json.loads(json.dumps(claim))
        except (ValueError, TypeError, KeyError):
            same = False  # cut by a power failure
        if not same:
            raise TrainingError(
                f"{work_dir} was left by a fit with other images or settings; repeat them, or fit without resume"
            )
        return
    make_folder(work_dir)
    for old in work_dir.rglob("stage-*"):  # members of a panel have folders of their own
        old.unlink()
    write_text(path, json.dumps(claim))


def digest_of(digests: Sequence[str]) -> str:
    """One digest for a set of images, whatever their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
