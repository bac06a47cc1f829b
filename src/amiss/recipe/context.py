"""What a fit works with, and what its training gives."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import networks
from ..data.preprocessing import to_float
from ..data.stack import allocate
from ..environment.files import make_folder
from ..lazy import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from ..data.labelled import Labelled
    from ..data.preprocessing import Preprocessing
    from ..data.splits import Splits
    from ..data.stack import Stack
    from ..engines import Output
    from ..networks.backbone import Features
    from ..progress import Progress
    from ..training.record import TrainingRecord


class StoredFeatures:
    """Feature maps of images that stay as they are, computed once, when they are first asked for.

    Args:
        backbone: gives them.
        images: (n, c, h, w) prepared; the feature maps (n, d, h', w') of many lie in a temporary file.
    """

    def __init__(self, backbone: Features, images: NDArray[Any]) -> None:
        self._backbone, self._images = backbone, images

    @functools.cached_property
    def maps(self) -> NDArray[np.float32]:
        """(n, d, h', w')."""
        return feature_maps(self._backbone, self._images)

    @functools.cached_property
    def means(self) -> NDArray[np.float32]:
        """(n, d): over all places."""
        return means_of(self.maps)


def feature_maps(backbone: Features, images: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d, h', w') of prepared images, a few at a time; large ones lie in a temporary file."""
    found: NDArray[np.float32] | None = None
    with torch.no_grad():
        together = networks.backbone.TOGETHER
        for begin in range(0, len(images), together):
            part = backbone(torch.from_numpy(to_float(images[begin : begin + together]))).numpy()
            found = allocate(len(images), part[0]) if found is None else found
            found[begin : begin + len(part)] = part
    assert found is not None  # no part of the images is empty
    return found


def feature_means(backbone: Features, images: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d) means over all places of the feature maps of prepared images; the maps are not kept."""
    together = networks.backbone.TOGETHER
    parts = [images[begin : begin + together] for begin in range(0, len(images), together)]
    return np.concatenate([means_of(feature_maps(backbone, part)) for part in parts])


def means_of(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d, h, w) feature maps to their means over all places, (n, d)."""
    means: NDArray[np.float32] = maps.mean(axis=(2, 3), dtype=np.float32)
    return means


@dataclass(frozen=True)
class FitContext:
    """Everything that training may use, once images are open, prepared and divided.

    Attributes:
        preprocessing: of every image.
        stack: the normal images, prepared.
        splits: which of them train, choose the epoch, calibrate. Nothing in training looks at the calibration part.
        folds: for cross-calibration: disjoint parts of the images, together all of them. Each is scored by a fit on the
            others; `splits` then lets every image train and calibrate, and none choose an epoch.
        stored: feature maps of the stack's images, for the many fits of a cross-calibration.
        labelled: labelled images beside them.
        backbone: images to scaled feature maps, where one was asked for.
        work_dir: where checkpoints go, or None.
        resume: go on from them.
        progress: told what is done of how much.
        notes: what the images made the fit do, for the record.
    """

    preprocessing: Preprocessing
    stack: Stack
    splits: Splits
    labelled: Labelled
    backbone: Features | None
    work_dir: Path | None
    resume: bool
    progress: Progress
    folds: Sequence[NDArray[np.int64]] = ()
    stored: StoredFeatures | None = None
    notes: Sequence[str] = ()

    def without(self, held: NDArray[np.int64]) -> FitContext:
        """The same with fewer images to train on."""
        train = self.splits.train
        splits = dataclasses.replace(self.splits, train=train[~np.isin(train, held)])
        return dataclasses.replace(self, splits=splits)

    def only(self, indices: NDArray[np.int64]) -> FitContext:
        """The same with these images and no others, all of which train; features are computed once."""
        stack = dataclasses.replace(
            self.stack,
            images=self.stack.images[indices],
            items=[self.stack.items[index] for index in indices],
            digests=[self.stack.digests[index] for index in indices],
            groups=None if self.stack.groups is None else [self.stack.groups[index] for index in indices],
            firsts=None,
        )
        everything = np.arange(len(indices))
        splits = dataclasses.replace(self.splits, train=everything, stop=everything[:0], calibrate=everything)
        stored = None if self.backbone is None else StoredFeatures(self.backbone, stack.images)
        return dataclasses.replace(self, stack=stack, splits=splits, folds=(), stored=stored)

    def within(self, folder: str, title: str | None = None) -> FitContext:
        """The same for a part of the work: with a folder of its own, and a title (else its name) before what progress
        tells."""
        work_dir = None if self.work_dir is None else self.work_dir / folder
        if work_dir is not None:
            make_folder(work_dir)

        def told(task: str, done: int, total: int, detail: str) -> None:
            self.progress(f"{title or folder}: {task}", done, total, detail)

        return dataclasses.replace(self, work_dir=work_dir, progress=told)


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes:
        head: the scorer, or, with a backbone, what stands behind it; whole images in, where they are scored by patches
            too.
        record: of the stages.
        warnings: what looked wrong.
        calibration: outputs of the calibration images, in their order, where each trained too: of fits that had not
            seen it.
    """

    head: nn.Module
    record: TrainingRecord
    warnings: list[str]
    calibration: Output | None = None
