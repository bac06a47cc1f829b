"""What training is made of: stages, each with players that minimise their own terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class Batch:
    """What a player's terms are computed from.

    Attributes:
        images: (n, c, h, w) float32 in [0, 1], normal images on the training device.
        generator: of the CPU, seeded by seed, stage, epoch and step, so that a resumed run draws the same numbers.
    """

    images: Tensor
    generator: Generator


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
        every_epochs: the player moves only in every n-th epoch.
    """

    name: str
    parameters: Iterable[nn.Parameter]
    terms: Callable[[Batch], dict[str, Tensor]]
    learning_rate: float
    schedule: Schedule | None = None
    every_epochs: int = 1
    optimizer: Callable[..., Optimizer] = AdamW


@dataclass(frozen=True)
class Stage:
    """A part of training with its own players and end.

    Attributes:
        name: shown in progress and records.
        players: move one after the other on every batch.
        epochs: at most so many.
        monitor: figure computed on the stop images (n, c, h, w) after each epoch, with a generator that is the same
            every time; it chooses the epoch and never sees an anomaly.
        better: whether a small or a large figure is good.
        patience: epochs without a better figure after which the stage ends; None never ends early.
        fewest_steps: an epoch passes through few images several times, until it has made so many steps.
    """

    name: str
    players: Sequence[Player]
    epochs: int
    monitor: Callable[[Tensor, Generator], float]
    better: Literal["min", "max"] = "min"
    patience: int | None = None
    fewest_steps: int = 1
