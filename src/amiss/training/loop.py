"""Runs the stages of a detector's training: the loop is ours, device and precision are Lightning Fabric's."""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..data.clips import Clips
from ..environment.files import atomic_write
from ..environment.machine import keep_freed_memory
from ..errors import TrainingError
from ..metrics import Ranking
from ..networks.head import answers
from ..progress import Progress
from .record import StageRecord
from .stage import Backbone, Batch, Computation, Held, Player, PreparedImages, Stage, StageContext, no_backbone


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from, each (n, c, h, w) uint8 or float32 in [0, 1].

    Attributes:
        train, stop: disjoint normal images, or clips, for training and for choosing the epoch.
        anomalies: labelled ones to learn from, if any.
        masks: (m, 1, h, w) int8 of the anomalies, see `Batch.masks`.
        validation: labelled images and (n,) bool, True = anomalous, whose AUROC chooses the epoch instead; a choice
            that has seen anomalies, and is recorded as such.
        features: the backbone, for methods that take it as a part.
        stored: its feature maps of images, and which of them are those of `train`, where they have been computed.
    """

    train: NDArray[Any] | Clips
    stop: NDArray[Any] | Clips
    anomalies: NDArray[Any] | None = None
    validation: tuple[NDArray[Any], NDArray[np.bool_]] | None = None
    masks: NDArray[np.int8] | None = None
    features: Backbone = no_backbone
    stored: tuple[NDArray[Any], NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class RunSettings:
    """How to run, as opposed to what to learn."""

    seed: int
    batch_size: int
    device: str
    precision: str
    work_dir: Path | None
    resume: bool
    progress: Progress


@dataclass(frozen=True)
class Outcome:
    """A record of each stage, and what looked wrong in any."""

    records: list[StageRecord]
    warnings: list[str]


@dataclass(frozen=True)
class _Moving:
    """A player with its optimizer and learning-rate schedule."""

    player: Player
    optimizer: Optimizer
    schedule: LRScheduler | None


class _StageRun:
    """One stage: every batch follows from seed, stage, epoch and step, so a broken run goes on to the same result."""

    def __init__(
        self,
        networks: nn.ModuleDict,
        stage: Stage,
        number: int,
        data: TrainingData,
        run: RunSettings,
        folder: Path,
        fabric: Fabric,
    ) -> None:
        self._networks, self._stage, self._number, self._data = networks, stage, number, data
        self._run, self._folder, self._fabric = run, folder, fabric
        self._batch_size = min(stage.batch_size or run.batch_size, len(data.train))
        self._steps = stage.steps or max(math.ceil(len(data.train) / self._batch_size), stage.fewest_steps)
        self._train = PreparedImages(data.train, fabric.device)
        self._anomalies = None if data.anomalies is None else PreparedImages(data.anomalies, fabric.device)
        self._moving = [self._made(player) for player in stage.players]
        self._history: list[dict[str, int | float]] = []
        self._best: dict[str, Any] = {"figure": -math.inf, "epoch": 0, "weights": {}}
        self._mean: dict[str, Any] = {"epochs": 0, "weights": {}}
        self._without_better = 0  # epochs
        self._smallest = math.inf  # stop figure, of those that count for the patience
        self._totals: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def _made(self, player: Player) -> _Moving:
        optimizer = player.optimizer(list(player.parameters), lr=player.learning_rate)
        steps = self._steps * self._stage.epochs
        schedule = None if player.schedule is None else player.schedule.make(optimizer, steps)
        return _Moving(player, optimizer, schedule)

    def run(self) -> StageRecord:
        """Train until the stage ends; the chosen weights are then in the networks."""
        start = time.perf_counter()
        checkpoint = self._folder / f"stage-{self._number}.ckpt"
        if self._run.resume and checkpoint.exists():
            self._restore(_checkpoint(checkpoint))
        while len(self._history) < self._stage.epochs and not self._stopped_early():
            epoch = len(self._history)
            self._train_epoch(epoch)
            self._end_epoch(epoch)
            if self._run.work_dir is not None:
                _save(checkpoint, self._state())
        averaged = self._mean["epochs"]
        self._networks.load_state_dict(self._mean["weights"] if averaged else self._best["weights"])
        ends = self._stage.patience is not None and self._stage.monitor is not None
        return StageRecord(
            stage=self._stage.name,
            epochs=len(self._history),
            chosen_epoch=self._best["epoch"],
            chosen_by=_chosen_by(self._stage, self._data),
            better=self._stage.better,
            steps_per_epoch=self._steps,
            seconds=round(time.perf_counter() - start, 1),
            figures=self._history,
            averaged=max(1, averaged),
            ended_early=self._stopped_early() if ends else None,
        )

    # -- an epoch ------------------------------------------------------------------------------------------------------

    def _generator(self, *position: int) -> Generator:
        return _generator(self._run.seed, self._number, *position)

    def _train_epoch(self, epoch: int) -> None:
        generator = self._generator(epoch)
        torch.manual_seed(generator.initial_seed())  # for layers that draw from the global generator
        passes = math.ceil(self._steps * self._batch_size / len(self._train))
        order = torch.cat([torch.randperm(len(self._train), generator=generator) for _ in range(passes)])
        self._totals, self._counts = {}, {}
        self._networks.train(not self._stage.frozen)
        for step in range(self._steps):
            images = self._train[order[step * self._batch_size : (step + 1) * self._batch_size]]
            for moving in self._moving:
                if epoch % moving.player.every_epochs == 0 and step % moving.player.every_steps == 0:
                    self._move(moving, images, epoch, step)

    def _move(self, moving: _Moving, images: Tensor, epoch: int, step: int) -> None:
        """A player's steps on one batch."""
        for move in range(moving.player.moves):
            generator = self._generator(epoch, 1 + step, *([move] if move else []))
            with self._autocast():
                anomalies = self._draw_anomalies(generator)
                terms = moving.player.terms(Batch(images, generator, *anomalies, features=self._data.features))
                if not terms:
                    continue
                loss = torch.stack(list(terms.values())).sum()
            self._count(moving.player.name, terms, epoch)
            moving.optimizer.zero_grad()
            self._fabric.backward(loss)
            moving.optimizer.step()
        if moving.schedule is not None and moving.player.schedule is not None and moving.player.schedule.per == "step":
            moving.schedule.step()

    def _autocast(self) -> torch.autocast:
        """Without a cache of cast weights: gradients of a network that is used several times in one step (a critic of
        real and made images) would be added up in half precision."""
        half = self._run.precision == "bfloat16"
        return torch.autocast(self._fabric.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def _draw_anomalies(self, generator: Generator) -> tuple[Tensor | None, Tensor | None]:
        """All labelled anomalies, or a batch of them; one generator for each move keeps other draws as they were."""
        if self._anomalies is None:
            return None, None
        drawing = torch.Generator().manual_seed(generator.initial_seed() ^ 0x5EED)
        chosen = torch.randperm(len(self._anomalies), generator=drawing)[: self._batch_size]
        given = self._data.masks
        masks = None if given is None else torch.from_numpy(given[chosen.numpy()]).to(self._fabric.device)
        return self._anomalies[chosen], masks

    def _count(self, player: str, terms: dict[str, Tensor], epoch: int) -> None:
        for name, term in terms.items():
            value = float(term.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} of the {player} became {value} in epoch {epoch + 1} of stage "
                    f"{self._stage.name}; lower learning_rate (a tenth is a good try), or set precision=float32"
                )
            self._totals[name] = self._totals.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _end_epoch(self, epoch: int) -> None:
        figures = {name: total / self._counts[name] for name, total in self._totals.items()}
        self._networks.eval()
        with torch.no_grad():
            figures |= self._measure(epoch)
        self._history.append({"epoch": epoch + 1, **figures})
        if "stop" in figures:
            for moving in self._moving:
                if isinstance(moving.schedule, ReduceLROnPlateau):
                    moving.schedule.step(figures["stop"])
            self._count_without_better(figures["stop"])
        self._keep_if_best(figures, epoch)
        if self._stage.keep == "mean" and epoch >= self._stage.left_out and "validation AUROC" not in figures:
            self._add_to_mean()
        if self._stage.after_epoch is not None:
            self._stage.after_epoch(epoch, self._folder)
        shown = [name for name in figures if name in self._totals or name in ("stop", "validation AUROC")]
        detail = ", ".join(f"{name} {figures[name]:.4f}" for name in shown)
        self._run.progress(self._stage.name, epoch + 1, self._stage.epochs, detail)

    def _measure(self, epoch: int) -> dict[str, float]:
        figures = {}
        stop = PreparedImages(self._data.stop, self._fabric.device)[:]
        if self._stage.monitor is not None:
            figures["stop"] = self._stage.monitor(Held(stop, self._generator(), self._data.features))
        if self._stage.measure is not None:
            figures |= self._stage.measure(stop)
        if self._data.validation is not None and self._stage.monitor is not None:
            figures["validation AUROC"] = self._validated(*self._data.validation)
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise TrainingError(
                    f"the {name} figure became {figure} in epoch {epoch + 1} of stage {self._stage.name}; "
                    "lower learning_rate (a tenth is a good try), or set precision=float32"
                )
        return figures

    def _validated(self, images: NDArray[Any], anomalous: NDArray[np.bool_]) -> float:
        given = PreparedImages(images, self._fabric.device)
        scorer = self._networks["scorer"]
        scores = torch.cat([answers(scorer, self._data.features(part), part)["score"] for part in given.batches()])
        values = scores.float().cpu().numpy()
        return float(Ranking(values, anomalous).auroc()) if np.isfinite(values).all() else math.nan

    def _count_without_better(self, figure: float) -> None:
        """An equal figure is no better one."""
        signed = float(np.float32(figure if self._stage.better == "min" else -figure))
        self._without_better = 0 if signed < self._smallest else self._without_better + 1
        self._smallest = min(self._smallest, signed)

    def _stopped_early(self) -> bool:
        patience = self._stage.patience
        return patience is not None and self._stage.monitor is not None and self._without_better >= patience

    def _keep_if_best(self, figures: dict[str, float], epoch: int) -> None:
        """Hold the weights of the best epoch; of equal ones the last, which has learnt for longest."""
        if self._stage.keep == "last" or not {"stop", "validation AUROC"} & set(figures):
            signed = float(epoch)
        elif "validation AUROC" in figures:
            signed = figures["validation AUROC"]
        elif self._stage.keep == "mean":
            signed = float(epoch)
        else:
            signed = figures["stop"] if self._stage.better == "max" else -figures["stop"]
        if signed >= self._best["figure"]:
            state = self._networks.state_dict()
            _check_finite(state, self._stage.name)
            weights = {name: value.detach().cpu().clone() for name, value in state.items()}
            self._best = {"figure": signed, "epoch": epoch + 1, "weights": weights}

    def _add_to_mean(self) -> None:
        """Each epoch's weights count alike; whole numbers, as counters of steps, are the last epoch's."""
        state = self._networks.state_dict()
        _check_finite(state, self._stage.name)
        epochs, kept = self._mean["epochs"] + 1, self._mean["weights"]
        weights = {}
        for name, value in state.items():
            now = value.detach().cpu().clone()
            before = kept.get(name)
            mixed = before is not None and now.is_floating_point()
            weights[name] = before + (now - before) / epochs if mixed else now
        self._mean = {"epochs": epochs, "weights": weights}

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "networks": self._networks.state_dict(),
            "optimizers": [moving.optimizer.state_dict() for moving in self._moving],
            "schedules": [moving.schedule.state_dict() for moving in self._moving if moving.schedule is not None],
            "history": self._history,
            "best": self._best,
            "mean": self._mean,
            "without_better": self._without_better,
            "smallest": self._smallest,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._networks.load_state_dict(state["networks"])
        for moving, kept in zip(self._moving, state["optimizers"], strict=True):
            moving.optimizer.load_state_dict(kept)
        schedules = [moving.schedule for moving in self._moving if moving.schedule is not None]
        for schedule, kept in zip(schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self._history, self._best = state["history"], state["best"]
        self._mean = state.get("mean", self._mean)  # earlier versions wrote none
        self._without_better, self._smallest = state["without_better"], state["smallest"]


def run_stages(
    scorer: nn.Module, stages: Sequence[Stage | Computation], data: TrainingData, run: RunSettings
) -> Outcome:
    """Train `scorer` in place, stage after stage, and leave each stage's chosen weights in it.

    With a `work_dir`, every epoch leaves a checkpoint there; with `resume`, training goes on from it to the result
    that an unbroken run would have had (on the same machine).

    Raises:
        TrainingError: a loss or stop figure that is not finite; the message names the cure.
    """
    keep_freed_memory()
    if data.anomalies is None:
        stages = [stage for stage in stages if isinstance(stage, Computation) or not stage.needs_anomalies]
    beside = {name: part for stage in stages if isinstance(stage, Stage) for name, part in stage.beside.items()}
    networks = nn.ModuleDict({"scorer": scorer, **beside})
    records: list[StageRecord] = []
    found: list[str] = []
    with contextlib.ExitStack() as held:
        folder = run.work_dir or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="amiss-")))
        for number, stage in enumerate(stages):
            if isinstance(stage, Computation):  # cheap, and a resumed run computes the same again
                record = _run_computation(networks, stage, number, data, run, folder, records)
            else:
                record = _run_or_restore(networks, stage, number, data, run, folder)
            records.append(record)
            found += stage.diagnose(record.figures) if stage.diagnose is not None else []
    scorer.to("cpu").eval()
    return Outcome(records, found)


def _run_or_restore(
    networks: nn.ModuleDict, stage: Stage, number: int, data: TrainingData, run: RunSettings, folder: Path
) -> StageRecord:
    finished = folder / f"stage-{number}.finished.ckpt"
    if run.resume and finished.exists():
        kept = _checkpoint(finished)
        networks.load_state_dict(kept["weights"])
        return StageRecord.model_validate(kept["record"])
    with torch.random.fork_rng():
        fabric = _fabric(run)
        networks.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types lack it
        record = _StageRun(networks, stage, number, data, run, folder, fabric).run()
    if run.work_dir is not None:
        _save(finished, {"weights": networks.state_dict(), "record": record.model_dump()})
    return record


def _fabric(run: RunSettings) -> Fabric:
    precision: Any = "bf16-mixed" if run.precision == "bfloat16" else "32-true"
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.ERROR)  # its banners are for its own users; ours see the progress of the fit
    try:
        return Fabric(accelerator=run.device, devices=1, precision=precision)
    finally:
        logger.setLevel(level)


def _generator(*position: int) -> Generator:
    words = np.random.SeedSequence(position).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def _run_computation(
    networks: nn.ModuleDict,
    computation: Computation,
    number: int,
    data: TrainingData,
    run: RunSettings,
    folder: Path,
    records: Sequence[StageRecord],
) -> StageRecord:
    start = time.perf_counter()
    networks.to(run.device).eval()
    train, stop = (PreparedImages(part, run.device) for part in (data.train, data.stop))
    stored = None if data.stored is None else PreparedImages(data.stored[0], run.device, data.stored[1])
    with torch.no_grad(), torch.random.fork_rng():
        generator = _generator(run.seed, number)
        torch.manual_seed(generator.initial_seed())
        context = StageContext(train, stop, generator, folder, records, data.features, stored)
        figures = computation.compute(context)
    run.progress(computation.name, 1, 1, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return StageRecord.of_computation(computation.name, time.perf_counter() - start, figures)


def _chosen_by(stage: Stage, data: TrainingData) -> str:
    if stage.keep == "last" or stage.monitor is None:
        return "the last epoch"
    if data.validation is not None:
        return f"labelled validation ({int(data.validation[1].sum())} anomalies seen)"
    if stage.keep == "mean":
        return "no choice"
    return "held-out normals"


def _save(path: Path, state: dict[str, Any]) -> None:
    """Whole, or not at all: a checkpoint that a power failure cuts would cost all that came before it."""
    with atomic_write(path) as file:
        torch.save(state, file)


def _checkpoint(path: Path) -> Any:
    """What a checkpoint holds. Raises `TrainingError` where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch meets cut files with errors of many kinds
        raise TrainingError(f"the checkpoint {path} is damaged; fit again without resume") from error


def _check_finite(weights: dict[str, Tensor], stage: str) -> None:
    """A weight that touches no pixel does not show in any score, until it does. Raises `TrainingError`."""
    for name, values in weights.items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise TrainingError(
                f"{name} is no longer finite after stage {stage}; set precision=float32 or a larger size"
            )
