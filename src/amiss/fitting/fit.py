"""A fit, as one page of steps."""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import training
from ..data import Collection, Images
from ..data.appearance import UsualAppearance
from ..data.grammar import in_memory
from ..data.inputs import stacked_inputs
from ..data.stack import Stack
from ..engines import batch_size
from ..environment import versions
from ..environment.files import make_folder
from ..environment.outputs import only_writer
from ..errors import DegenerateTrainingWarning, UsageError
from ..model.calibrated import calibrate, calibrated_by
from ..model.fitted import FittedModel
from ..model.manifest import Part, Record, SplitFacts
from ..progress import Progress, silent
from ..recipe.recipe import Recipe, with_backbone
from .discard import without_strangest
from .prepare import digest_of, open_normal, prepare

if TYPE_CHECKING:
    from ..recipe.context import FitContext
    from ..training.record import TrainingRecord

#: Normal images that a model file holds for explanations.
_REFERENCES = 16
#: Saving needs the last three; they must not be missed after hours of training.
NEEDS = ("torch", "lightning_fabric", "onnx", "onnxscript", "safetensors")
_ALIKE = (
    "the scores of normal images differ by less than half a grey level in the images would change them, as if these "
    "were all alike: the threshold stands above that, and no rate can be told from them; give images that differ as "
    "parts do"
)
_LEARNERS = "try the method adnl, or an autoencoder with negative=bounded"


def fit(
    recipe: Recipe[Any],
    x: Images,
    *,
    anomalies: Images | None = None,
    validation: Images | None = None,
    work_dir: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> FittedModel:
    """Learn what normal images look like; see `amiss.detectors.detector.Detector.fit`, which passes all of it on."""
    _check(recipe, anomalies, validation)
    collection = open_normal(x)
    strict = in_memory(x)
    with _only_fit_in(work_dir):
        context = prepare(recipe, collection, anomalies, validation, work_dir, resume, progress, strict)
        context, discarded = without_strangest(recipe, context)
        trained = recipe.train_across(context) if context.folds else recipe.train(context)
    shape, stack, splits = context.preprocessing.shape, context.stack, context.splits
    scorer = with_backbone(trained.head, context.backbone, shape)
    usual = UsualAppearance.of([each for i, each in enumerate(stack.appearances) if i not in discarded])
    inputs = stacked_inputs(stack, splits.calibrate, recipe.clip_length)
    size = batch_size(inputs.shape[1:], recipe.patch)
    deciding = (recipe.device, recipe.false_alarm_rate, context.preprocessing.inside)
    if trained.calibration is None:
        calibration = calibrate(scorer, inputs, size, *deciding)
    else:
        calibration = calibrated_by(trained.calibration, scorer, inputs[:size], *deciding)
    warned = [*trained.warnings, *([] if calibration.floor is None else [_ALIKE])]
    model = FittedModel(
        method=recipe.facts(),
        settings=recipe.settings_as_text(),
        preprocessing=context.preprocessing,
        calibration=calibration,
        false_alarm_rate=recipe.false_alarm_rate,
        record=_record(collection, context, discarded, trained.record, warned, usual),
        reference=stack.images[splits.train[:_REFERENCES]],
        usual=usual,
        scorer=scorer,
        backbone=None if context.backbone is None else context.backbone.backbone.graph,
        device=recipe.device,
    )
    for sentence in warned:
        warnings.warn(sentence, DegenerateTrainingWarning, stacklevel=3)
    return model


@contextlib.contextmanager
def _only_fit_in(work_dir: Path | None) -> Iterator[None]:
    if work_dir is None:
        yield
        return
    make_folder(work_dir)
    try:
        with only_writer(work_dir, "work_dir"):
            yield
    finally:
        with contextlib.suppress(OSError):  # one that holds something
            work_dir.rmdir()


def _check(recipe: Recipe[Any], anomalies: Images | None, validation: Images | None) -> None:
    recipe.check()
    name = type(recipe).__name__
    if recipe.clip_length > 1 and validation is not None:
        raise UsageError(f"{name} sees clips, and labelled validation is of single images")
    if anomalies is not None and not recipe.learns_from_anomalies():
        raise UsageError(f"{name} with these settings does not learn from anomalies; {_LEARNERS}")
    versions.require("train", f"fitting {name}", *NEEDS)
    training.choose.training_device(recipe.device)


def _record(
    collection: Collection,
    context: FitContext,
    discarded: NDArray[np.int64],
    trained: TrainingRecord,
    warned: Sequence[str],
    usual: UsualAppearance,
) -> Record:
    stack, splits, labelled = context.stack, context.splits, context.labelled
    notes = [*collection.notes, *context.notes, *labelled.notes, *warned]
    if stack.unreadable:
        name, reason = stack.unreadable[0]
        notes.append(f"{len(stack.unreadable)} unreadable file(s) were left out; the first, {name}: {reason}")
    if usual.unscaled:
        notes.append(f"the images have {usual.unscaled}: nearly black to the model; scale them to the full range")
    names = [item.name for item in stack.items]
    if len(discarded):
        notes.append(
            f"{len(discarded)} training images, the strangest, were left out; the first: {names[discarded[0]]}"
        )

    def part(indices: NDArray[np.int64], named: bool = False) -> Part:
        digests = [stack.digests[index] for index in indices]
        return part_of(digests, [names[index] for index in indices] if named else None)

    facts = SplitFacts(
        train=part(splits.train),
        stop=part(splits.stop),
        calibrate=with_groups(part(splits.calibrate, named=True), stack, splits.calibrate),
        source=collection.title,
        video=True if collection.of_video else None,
        folds=len(context.folds) or None,
        labelled=part_of(labelled.digests) if labelled.digests else None,
        discarded=part(discarded, named=True) if len(discarded) else None,
    )
    return Record(
        splits=facts,
        training=trained,
        notes=notes,
        fitted_on=datetime.date.today().isoformat(),
        versions=versions.installed(),
    )


def part_of(digests: Sequence[str], names: Sequence[str] | None = None) -> Part:
    """What the record says of one part of the images."""
    kept = None if names is None else list(names)
    return Part(count=len(digests), digest=digest_of(digests), images=list(digests), names=kept)


def with_groups(part: Part, stack: Stack, indices: Iterable[int]) -> Part:
    """With the groups of its images, those of these indices, where some belong together."""
    groups = stack.groups_of(indices)
    count = len(set(groups))
    if count == len(groups):
        return part
    return part.model_copy(update={"groups": count, "group_names": groups if stack.groups_are_whole else None})
