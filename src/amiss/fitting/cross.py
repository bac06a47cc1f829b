"""Cross-calibration: every normal image trains, and calibrates by the score of a fit that has not seen it.

Sources: Vovk, Cross-conformal predictors, 2015; Barber, Candès, Ramdas and Tibshirani, Predictive inference with the
jackknife+, 2021. What is promised: docs/decisions.md.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import engines, networks, training
from ..engines import Output
from ..recipe.context import FitContext, Trained
from ..recipe.recipe import with_backbone

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe


def train_across(recipe: Recipe[Any], context: FitContext) -> Trained:
    """Train on every fold's others, then on all images.

    Returns: what the last training gives, with the outputs of the calibration images, each of the fit that had not seen
    it.
    """
    start = time.perf_counter()
    parts = []
    for number, held in enumerate(context.folds, start=1):
        fold = f"fold {number} of {len(context.folds)}"
        trained = recipe.train(context.without(held).within(f"fold-{number}", fold))
        parts.append(_outputs(recipe, trained, context, held))
    seconds = time.perf_counter() - start
    trained = recipe.train(context)
    return with_calibration(trained, context, joined(parts), seconds)


def _outputs(recipe: Recipe[Any], trained: Trained, context: FitContext, held: NDArray[np.int64]) -> Output:
    """What a fit makes of images that it has not seen."""
    scorer = with_backbone(trained.head, context.backbone, context.preprocessing.shape)
    images = context.stack.images[held]
    size = engines.batch_size(images.shape[1:])
    if context.stored is not None and isinstance(scorer, networks.backbone.BackboneScorer) and not scorer.sees_image:
        scorer, images = scorer.behind_features(), context.stored.maps[held]
    return engines.run_batches(engines.torch_engine.TorchEngine(scorer, "float32", recipe.device), images, size)


def joined(parts: list[Output]) -> Output:
    """The outputs of several folds as one."""
    maps = [part.maps for part in parts if part.maps is not None]
    return Output(np.concatenate([part.scores for part in parts]), np.concatenate(maps) if maps else None)


def with_calibration(trained: Trained, context: FitContext, output: Output, seconds: float) -> Trained:
    """What training gives, with the outputs of the calibration images.

    Args:
        trained: on all images.
        context: of the fit.
        output: of all images, fold after fold.
        seconds: that the folds took.
    """
    position = np.empty(len(output.scores), dtype=np.int64)
    position[np.concatenate(context.folds)] = np.arange(len(position))
    chosen = position[context.splits.calibrate]
    calibration = Output(output.scores[chosen], None if output.maps is None else output.maps[chosen])
    stage = training.record.StageRecord.of_computation("folds", seconds, {"folds": float(len(context.folds))})
    record = trained.record.model_copy(update={"stages": [stage, *trained.record.stages]})
    return Trained(trained.head, record, trained.warnings, calibration)
