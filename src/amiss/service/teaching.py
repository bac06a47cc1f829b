"""Correct a model in service: learn from images it got wrong, recalibrate, and show what that did to others."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import networks, training
from ..data import Collection, Images, Item, open_images
from ..data.appearance import UsualAppearance
from ..data.preprocessing import Preprocessing, to_float
from ..data.splits import clusters
from ..data.stack import Stack, load_stack, prepare_item
from ..detectors.reconstructor import Reconstructor
from ..environment import versions
from ..errors import AmissError, DataError, UsageError
from ..fitting.fit import NEEDS, part_of, with_groups
from ..lazy import torch
from ..metrics import Ranking
from ..model import FittedModel
from ..model.calibrated import calibrate as calibrated
from ..model.manifest import LessonFacts, SplitFacts
from ..objectives.forms import NEGATIVES
from ..progress import Progress, silent
from ..registry import get_method

if TYPE_CHECKING:
    from ..training.record import StageRecord

#: Share of the given images that is kept aside to show before and after.
_ASIDE = 0.3
#: With fewer groups of images of a label, none is kept aside.
_FEWEST_TO_DIVIDE = 4
#: The bounded form lets go of an anomaly whose error is some times so many errors of a normal image. Chosen in a trial
#: on one class of Fashion-MNIST, in which it kept more of what the model knew than 10, 30 or the whole error.
_LET_GO = 3.0


@dataclass(frozen=True)
class Figures:
    """What a model makes of the images kept aside.

    Attributes:
        auroc: None where only one label was kept aside.
        false_alarms, missed: shares of the normal images flagged, and of the anomalies not flagged; None without any.
    """

    auroc: float | None
    false_alarms: float | None
    missed: float | None


@dataclass(frozen=True)
class Lesson:
    """What was learnt, and what it did.

    Attributes:
        model: the taught one; that which was given is as it was.
        before, after: figures on the images kept aside, which were not learnt from.
        record: what the taught model's record holds of it.
    """

    model: FittedModel
    before: Figures
    after: Figures
    record: LessonFacts


def teach(
    model: FittedModel,
    normal: Images,
    anomalous: Images,
    *,
    calibrate: Images | None = None,
    form: str = "bounded",
    epochs: int = 10,
    learning_rate: float = 1e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> Lesson:
    """Teach a model: paint these normal images well, and these anomalies badly. What is taught is another model.

    Three in ten of the given images (of each label, if there are four or more groups of related ones) are kept aside to
    compare before and after. Normal images that the model file holds for reference are learnt again beside them. The
    bounded form pulls at an anomaly until its error is a few times that of a normal image. The decision is then
    calibrated anew: the old calibration scores belong to the old weights.

    Args:
        model: one that reconstructs whole images.
        normal: images that are normal, such as false alarms; add some that were judged rightly.
        anomalous: images that are anomalous, such as missed ones.
        calibrate: normal images to calibrate with: those the model file names, moved elsewhere, or new ones. Without
            it, those it names must lie where they lay.
        form: of the negative term, see `amiss.objectives.negative`.
        epochs, learning_rate: of the lesson.
        seed: chooses what is kept aside, and the order of batches.
        progress: told what is done of how much.

    Raises:
        UsageError: a method that cannot be taught, as those of clips, or a form or number of epochs that is none.
        DataError: too few images, or calibration images that are missing or were changed; it says which.
        MissingExtraError: torch or Lightning Fabric is not installed.
    """
    recipe = _recipe(model, form, epochs, learning_rate, seed)
    preprocessing = model.preprocessing
    good = _load(open_images(normal, "score").normal, preprocessing, progress)
    not_normal = open_images(anomalous, "score").where(lambda item: item.anomalous is not False)
    bad = _load(not_normal, preprocessing, progress)
    twice = set(good.digests) & set(bad.digests)
    if twice:
        name = next(item.name for item, digest in zip(bad.items, bad.digests, strict=True) if digest in twice)
        raise DataError(f"{name} is given both as normal and as anomalous; leave it out of one of them")
    held_out = _calibration(model, calibrate, good, bad, progress)
    rng = np.random.default_rng(seed)
    (good_aside, good_taught), (bad_aside, bad_taught) = (_divide(part, rng) for part in (good, bad))
    aside = (good.images[good_aside], bad.images[bad_aside])
    before = _figures(model, *aside)
    device = training.choose.training_device("auto" if model.device == "cuda" else model.device)
    images = (good.images[good_taught], bad.images[bad_taught])
    scorer, stage, warnings = _train(model, recipe, *images, device, progress)
    learnt = [good.digests[index] for index in good_taught] + [bad.digests[index] for index in bad_taught]
    record = model.record.model_copy(
        update={"splits": _splits(model.record.splits, held_out, learnt), "notes": [*model.record.notes, *warnings]}
    )
    taught = dataclasses.replace(
        model,
        scorer=scorer,
        usual=None if model.usual is None else model.usual.joined(UsualAppearance.of(good.appearances)),
        calibration=calibrated(
            scorer, held_out.images, model.batch_size, device, model.false_alarm_rate, preprocessing.inside
        ),
        record=record,
        weights=b"",
        graph=None,
        engine_name="auto",
    )
    after = _figures(taught, *aside)
    facts = LessonFacts(
        date=datetime.date.today().isoformat(),
        form=form,
        normal=len(good_taught),
        anomalous=len(bad_taught),
        kept_aside=len(good_aside) + len(bad_aside),
        before=vars(before),
        after=vars(after),
        stage=stage,
    )
    record = record.model_copy(update={"lessons": [*record.lessons, facts]})
    return Lesson(dataclasses.replace(taught, record=record), before, after, facts)


def _recipe(model: FittedModel, form: str, epochs: int, learning_rate: float, seed: int) -> Reconstructor:
    """The model's method with the lesson's settings, checked."""
    if model.clip_length > 1:
        raise UsageError(
            f"{model.label} sees clips of frames and cannot be taught: only methods that reconstruct whole images can; "
            "fit it again with more normal video, its false alarms among it"
        )
    recipe = get_method(model.method.name)(**model.settings)
    if not isinstance(recipe, Reconstructor) or not model.sees_whole_images:
        raise UsageError(
            f"{model.label} cannot be taught: only methods that reconstruct whole images can; fit it again with the "
            "images added"
        )
    versions.require("train", "teaching", *NEEDS)
    if form not in NEGATIVES:
        raise UsageError(f"form must be one of {', '.join(NEGATIVES)}, but is {form!r}")
    if epochs < 1:
        raise UsageError(f"epochs must be at least 1, but is {epochs}")
    recipe.set_params(negative=form, negative_epochs=epochs, learning_rate=learning_rate, seed=seed)
    recipe.check()
    return recipe


def _load(collection: Collection, preprocessing: Preprocessing, progress: Progress) -> Stack:
    if not len(collection):
        raise DataError(f"{collection.title} holds no image to learn from")
    stack = load_stack(collection, preprocessing, progress)
    if stack.unreadable:
        name, reason = stack.unreadable[0]
        raise DataError(f"{name} cannot be learnt from: {reason}")
    return stack


def _divide(part: Stack, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to keep aside, and to learn from; images of one group, and copies, stay together."""
    joined = clusters([item.group for item in part.items], part.digests)
    room = round(_ASIDE * len(part.items)) if len(joined) >= _FEWEST_TO_DIVIDE else 0
    sides: tuple[list[int], list[int]] = ([], [])
    for number in rng.permutation(len(joined)):
        members = joined[number]
        sides[0 if len(sides[0]) + len(members) <= room else 1].extend(members)
    aside, taught = (np.array(sorted(side), dtype=np.int64) for side in sides)
    return aside, taught


def _figures(model: FittedModel, good: NDArray[Any], bad: NDArray[Any]) -> Figures:
    scores = np.concatenate([_scores(model, part) for part in (good, bad)])
    flags = model.decision.is_anomaly(scores)
    labels = np.arange(len(scores)) >= len(good)
    return Figures(
        float(Ranking(scores, labels).auroc()) if labels.any() and not labels.all() else None,
        float(flags[~labels].mean()) if len(good) else None,
        float((~flags[labels]).mean()) if len(bad) else None,
    )


def _scores(model: FittedModel, images: NDArray[Any]) -> NDArray[np.float32]:
    return model.run(images).scores if len(images) else np.empty(0, dtype=np.float32)


def _train(
    model: FittedModel,
    recipe: Reconstructor,
    good: NDArray[Any],
    bad: NDArray[Any],
    device: str,
    progress: Progress,
) -> tuple[networks.autoencoder.ReconstructionScorer, StageRecord, list[str]]:
    """The scorer that has learnt, a record of it, and what looked wrong; the model's own is left alone."""
    scorer = copy.deepcopy(model.torch_scorer())
    assert isinstance(scorer, networks.autoencoder.ReconstructionScorer)  # what a reconstructor of whole images builds
    rehearsed = np.concatenate([good, model.reference])
    with torch.no_grad():
        errors = scorer.errors(torch.from_numpy(to_float(rehearsed)), "normal").mean(dim=(1, 2))
    recipe.set_params(negative_unit=max(1e-9, _LET_GO * float(errors.mean())))
    run = training.loop.RunSettings(
        recipe.seed, min(recipe.batch_size, len(rehearsed)), device, "float32", None, False, progress
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        stages = [recipe.negative_stage(scorer)]
    outcome = training.loop.run_stages(scorer, stages, training.loop.TrainingData(rehearsed, model.reference, bad), run)
    (record,) = outcome.records
    return scorer, record.model_copy(update={"stage": "lesson"}), list(outcome.warnings)


def _splits(splits: SplitFacts, held_out: Stack, learnt: Sequence[str]) -> SplitFacts:
    """With other calibration images, and with what was learnt from, so that `eval` leaves it out."""
    names = [item.name for item in held_out.items]
    known = () if splits.labelled is None else splits.labelled.images
    calibrate = with_groups(part_of(held_out.digests, names), held_out, range(len(names)))
    if calibrate.groups is None and set(calibrate.images) <= set(splits.calibrate.images):
        # files of earlier versions hold how many groups there were, and not which image was of which
        calibrate = calibrate.model_copy(update={"groups": splits.calibrate.groups})
    changed = {
        "calibrate": calibrate,
        "labelled": part_of(sorted({*known, *learnt})),
    }
    return splits.model_copy(update=changed)


# -- the calibration images -------------------------------------------------------------------------------------------


def _calibration(model: FittedModel, given: Images | None, good: Stack, bad: Stack, progress: Progress) -> Stack:
    splits = model.record.splits
    part = splits.calibrate
    if given is None:
        stack = _named(model)
    else:
        stack = load_stack(open_images(given, "fit").normal, model.preprocessing, progress)
        named = [index for index, digest in enumerate(stack.digests) if digest in set(part.images)]
        if len({stack.digests[index] for index in named}) == len(part.images):
            stack = _chosen(stack, named)  # a folder that holds them, and perhaps images the model was trained on
    learnt_from = (splits.train, splits.stop, splits.labelled, splits.discarded)
    used = {digest for each in learnt_from if each is not None for digest in each.images}
    used |= {*good.digests, *bad.digests}
    related = {item.group for each in (good, bad) for item in each.items if item.group}
    first: dict[str, int] = {}
    for index, digest in enumerate(stack.digests):
        if digest not in used and stack.items[index].group not in related:
            first.setdefault(digest, index)  # copies would count as evidence that they are not
    if not first:
        raise DataError("no image is left to calibrate with: all were learnt from; give others with --calibrate")
    return _chosen(stack, list(first.values()))


def _chosen(stack: Stack, indices: Sequence[int]) -> Stack:
    keep = list(indices)
    return Stack(
        stack.images[keep], [stack.items[index] for index in keep], [stack.digests[index] for index in keep], []
    )


def _named(model: FittedModel) -> Stack:
    """The calibration images that the model file names, if they are all where they were, and as they were."""
    splits = model.record.splits
    names, digests = splits.calibrate.names, splits.calibrate.images
    groups: Sequence[str | None] = splits.calibrate.group_names or [None] * len(digests)
    images, items, missing = [], [], []
    for name, digest, group in zip(names or [""] * len(digests), digests, groups, strict=True):
        item = _item(name)
        prepared = None if item is None else prepare_item(item, model.preprocessing)
        if prepared is None or prepared.digest != digest or prepared.image is None:
            missing.append(name or "an image without a name")
        else:
            images.append(prepared.image)
            items.append(prepared.item if group is None else dataclasses.replace(prepared.item, group=group))
    if missing:
        raise DataError(
            f"recalibration needs the {len(digests)} calibration images that the model file names, and "
            f"{len(missing)} of them are missing or changed, such as {missing[0]}; put them back, or give what holds "
            f"them (the model learnt from {splits.source}), or other normal images, with --calibrate"
        )
    return Stack(np.stack(images), items, list(digests), [])


def _item(name: str) -> Item | None:
    """The image of a name as `Item.name` gives it: a path, or `SOURCE[index]`."""
    indexed = re.fullmatch(r"(.+)\[(\d+)\]", name)
    try:
        if indexed and not Path(name).exists():
            collection = open_images(indexed[1], "score")
            return next((item for item in collection[int(indexed[2]) :] if item.name == name), None)
        return open_images(name, "score")[0] if Path(name).is_file() else None
    except AmissError:
        return None
