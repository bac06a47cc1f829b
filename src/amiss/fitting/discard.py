"""Normal images that may hold anomalies: the strangest of the training part are left out before the real fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import engines
from ..data.inputs import stacked_inputs
from ..data.splits import clusters
from ..data.stack import Stack
from ..recipe.context import FitContext
from ..recipe.recipe import Recipe, with_backbone


def without_strangest(recipe: Recipe[Any], context: FitContext) -> tuple[FitContext, NDArray[np.int64]]:
    """Leave out the training images that the method itself, fitted on the other half of them, finds strangest.

    A method that has learnt from an image seldom finds it strange, so each half is scored by a fit on the other. The
    same share of both halves goes. Stop and calibration part stay as they are: leaving out what scores high there
    would break the promise.

    Args:
        recipe: its setting `discard` is the share of the training images that is left out; at 0, none is.
        context: of the fit; the two fits keep their checkpoints in folders of its own.

    Returns: the context with a smaller part to train on, and the indices (int64, sorted) of what was left out.
    """
    splits, left_out = context.splits, np.empty(0, dtype=np.int64)
    if not recipe.discard:
        return context, left_out
    out: list[NDArray[np.int64]] = []
    halves = _halves(context.stack, splits.train, recipe.seed)
    for number, (half, other) in enumerate(zip(halves, reversed(halves), strict=True), start=1):
        part = dataclasses.replace(context, splits=dataclasses.replace(splits, train=half))
        scores = _scores(recipe, part.within(f"half-{number}", f"half {number} of 2"), other)
        out.append(other[np.argsort(-scores, kind="stable")[: round(recipe.discard * len(other))]])
    left_out = np.sort(np.concatenate(out))
    kept = splits.train[~np.isin(splits.train, left_out)]
    return dataclasses.replace(context, splits=dataclasses.replace(splits, train=kept)), left_out


def _scores(recipe: Recipe[Any], context: FitContext, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n,) what a fit on the context's training part makes of other images."""
    trained = recipe.train(context)
    scorer = with_backbone(trained.head, context.backbone, context.preprocessing.shape)
    inputs = stacked_inputs(context.stack, indices, recipe.clip_length)
    engine = engines.torch_engine.TorchEngine(scorer, "float32", recipe.device)
    return engines.run_batches(engine, inputs, engines.batch_size(inputs.shape[1:], recipe.patch)).scores


def _halves(stack: Stack, indices: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint parts of about the same size; images of one group or of the same pixels stay together."""
    groups = stack.groups or [item.group for item in stack.items]
    joined = clusters([groups[each] for each in indices], [stack.digests[each] for each in indices])
    first: list[int] = []
    second: list[int] = []
    for number in np.random.default_rng(seed).permutation(len(joined)):
        min(first, second, key=len).extend(joined[number])
    one, two = (indices[np.sort(np.array(part, dtype=np.int64))] for part in (first, second))
    return one, two
