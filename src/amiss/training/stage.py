"""What training is made of: stages, each with players that minimise their own terms, and computations in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..data.clips import Clips
from .record import StageRecord

#: A backbone: images (n, c, h, w) to feature maps (n, d, h', w').
Backbone = Callable[[Tensor], Tensor]


def no_backbone(images: Tensor) -> Tensor:
    """What stands for a backbone where there is none: images stay as they are."""
    return images


@dataclass(frozen=True)
class Batch:
    """What a player's terms are computed from.

    Attributes:
        images: (n, c, h, w) float32 in [0, 1], normal images on the training device.
        generator: of the CPU, seeded by seed, stage, epoch and step, so that a resumed run draws the same numbers.
        anomalies: (m, c, h, w) labelled anomalies, where any were given; all of them, or as many as a batch holds.
        masks: (m, 1, h, w) int8 of the anomalies: 1 where the defect is, 0 elsewhere, -1 everywhere where nobody knows.
        features: the backbone, for methods that take it as a part.
    """

    images: Tensor
    generator: Generator
    anomalies: Tensor | None = None
    masks: Tensor | None = None
    features: Backbone = no_backbone


@dataclass(frozen=True)
class Held:
    """What a monitor looks at after each epoch: normal images that nothing was learnt from, never an anomaly.

    Attributes:
        images: (n, c, h, w) float32 in [0, 1], the stop images on the training device.
        generator: of the CPU, the same every time.
        features: the backbone, for methods that take it as a part.
    """

    images: Tensor
    generator: Generator
    features: Backbone = no_backbone


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule, stepped after every `step`, or after every epoch to notice a `plateau`."""

    make: Callable[[Optimizer, int], LRScheduler]
    per: Literal["step", "plateau"]


@dataclass(frozen=True)
class Player:
    """One optimizer and the terms it minimises.

    Attributes:
        name: shown in errors and records.
        parameters: what this player may change.
        terms: batch -> named scalar terms, already weighted; their sum is minimised.
        learning_rate: the optimizer's.
        schedule: makes the learning-rate schedule from the optimizer and the number of steps of the whole stage.
        every_epochs: the player moves only in every n-th epoch, the first among them.
        every_steps: the player moves only on every n-th batch of these.
        moves: so many steps on each batch, each with anomalies drawn anew.
    """

    name: str
    parameters: Iterable[nn.Parameter]
    terms: Callable[[Batch], dict[str, Tensor]]
    learning_rate: float
    schedule: Schedule | None = None
    every_epochs: int = 1
    every_steps: int = 1
    moves: int = 1
    optimizer: Callable[..., Optimizer] = AdamW


Monitor = Callable[[Held], float]
Diagnosis = Callable[[Sequence[Mapping[str, float]]], list[str]]


@dataclass(frozen=True)
class Stage:
    """A part of training with its own players and end.

    Attributes:
        name: shown in progress and records.
        players: move one after the other on every batch.
        epochs: at most so many.
        monitor: figure of the stop images after each epoch. None where no figure means anything.
        better: whether a small or a large figure is good.
        patience: epochs without a better figure after which the stage ends; None never ends early.
        fewest_steps: an epoch passes through few images several times, until it has made so many steps.
        steps: an epoch has so many steps, however many images there are.
        keep: the weights of the epoch with the best figure, of the last one, or the mean of those of many epochs, where
            no labelled validation chooses one.
        left_out: so many epochs, the first ones, are not in the mean.
        beside: networks that only training needs (a discriminator); they are no part of the saved model.
        needs_anomalies: the stage is left out where no labelled anomalies were given.
        frozen: batch normalisation and dropout stay as in scoring.
        batch_size: instead of the detector's.
        measure: further figures of the stop images after each epoch, for the record and the diagnosis.
        after_epoch: told the epoch (from 0) and a folder that lasts as long as the training.
        diagnose: from the figures of all epochs to warnings, each naming its cure.
    """

    name: str
    players: Sequence[Player]
    epochs: int
    monitor: Monitor | None
    better: Literal["min", "max"] = "min"
    patience: int | None = None
    fewest_steps: int = 1
    steps: int | None = None
    keep: Literal["best", "last", "mean"] = "best"
    left_out: int = 0
    beside: Mapping[str, nn.Module] = field(default_factory=dict)
    needs_anomalies: bool = False
    frozen: bool = False
    batch_size: int | None = None
    measure: Callable[[Tensor], dict[str, float]] | None = None
    after_epoch: Callable[[int, Path], None] | None = None
    diagnose: Diagnosis | None = None


class PreparedImages:
    """Prepared images (n, c, h, w), uint8 or float32, given out as float32 on the training device.

    So are clips, (n, t, c, h, w), which are cut when they are asked for. `rows`: only these, without a copy.
    """

    def __init__(
        self,
        images: NDArray[Any] | Tensor | Clips,
        device: torch.device | str = "cpu",
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._images, self._device = images if isinstance(images, Clips) else torch.as_tensor(images), device
        self._rows = None if rows is None else torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self._images if self._rows is None else self._rows)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        found = self._images[chosen if self._rows is None else self._rows[chosen]]
        images = (found if isinstance(found, Tensor) else torch.from_numpy(found)).to(self._device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        return images if images.dim() > 4 else images.contiguous(memory_format=torch.channels_last)

    def batches(self, size: int = 256) -> Iterator[Tensor]:
        """All images in order, `size` at a time."""
        for begin in range(0, len(self), size):
            yield self[begin : begin + size]


@dataclass(frozen=True)
class StageContext:
    """What a computation may look at.

    Attributes:
        train, stop: normal images; the calibration images are never among them.
        generator: of the CPU, seeded by seed and stage.
        folder: what `Stage.after_epoch` has written.
        records: of the stages before.
        features: the backbone, for methods that take it as a part.
        stored: feature maps of the training images, where they have been computed before.
    """

    train: PreparedImages
    stop: PreparedImages
    generator: Generator
    folder: Path
    records: Sequence[StageRecord]
    features: Backbone = no_backbone
    stored: PreparedImages | None = None

    def train_features(self, chosen: Tensor | slice) -> Tensor:
        """Feature maps of training images as they are; without a backbone, the images."""
        return self.features(self.train[chosen]) if self.stored is None else self.stored[chosen]


@dataclass(frozen=True)
class Computation:
    """A part of training without gradients: figures of the training images, set into the networks at once.

    Attributes:
        name: shown in progress and records.
        compute: context -> figures for the record, perhaps none.
        diagnose: as in `Stage`.
    """

    name: str
    compute: Callable[[StageContext], dict[str, float]]
    diagnose: Diagnosis | None = None
