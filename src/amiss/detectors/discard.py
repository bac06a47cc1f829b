"""Normal images that may hold anomalies: the strangest of the training part are left out before the real fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.splits import clusters
from ..data.stack import Stack
from ..files import make_folder

if TYPE_CHECKING:
    from ..data.splits import Splits
    from ..progress import Progress
    from .base import Detector


def without_strangest(
    detector: Detector,
    share: float,
    stack: Stack,
    splits: Splits,
    work_dir: Path | None,
    progress: Progress,
    train: Any,
) -> tuple[Splits, NDArray[np.int64]]:
    """Leave out the training images that the method itself, fitted on the other half of them, finds strangest.

    A method that has learnt from an image seldom finds it strange, so each half is scored by a fit on the other. The
    same share of both halves goes. Stop and calibration part stay as they are: leaving out what scores high there
    would break the promise.

    Args:
        detector: gives the seed and the scorer's batch.
        share: of the training images that are left out.
        stack, splits: the images and their parts.
        work_dir: the two fits keep their checkpoints in folders of it.
        train: (splits, work_dir, progress) to a `Trained`.

    Returns: the parts, with a smaller one to train on, and the indices (int64, sorted) of what was left out.
    """
    out: list[NDArray[np.int64]] = []
    halves = _halves(stack, splits.train, detector.seed)
    for number, (half, other) in enumerate(zip(halves, reversed(halves), strict=True), start=1):
        folder = None if work_dir is None else work_dir / f"half-{number}"
        if folder is not None:
            make_folder(folder)

        def told(task: str, done: int, total: int, detail: str, number: int = number) -> None:
            progress(f"half {number} of 2: {task}", done, total, detail)

        trained = train(dataclasses.replace(splits, train=half), folder, told)
        scores = detector.score_prepared(trained.scorer, detector._views(stack, other))
        out.append(other[np.argsort(-scores, kind="stable")[: round(share * len(other))]])
    left_out = np.sort(np.concatenate(out))
    kept = splits.train[~np.isin(splits.train, left_out)]
    return dataclasses.replace(splits, train=kept), left_out


def _halves(stack: Stack, indices: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint parts of about the same size; images of one group or of the same pixels stay together."""
    groups = stack.groups or [item.group for item in stack.items]
    joined = clusters([groups[each] for each in indices], [stack.digests[each] for each in indices])
    first: list[int] = []
    second: list[int] = []
    for number in np.random.default_rng(seed).permutation(len(joined)):
        min(first, second, key=len).extend(joined[number])
    parts: Sequence[list[int]] = (first, second)
    one, two = (indices[np.sort(np.array(part, dtype=np.int64))] for part in parts)
    return one, two
