"""Runs the stages of a detector's training on Lightning: checkpoints, resume, early stopping, devices, precision."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..errors import TrainingError
from ..machine import keep_freed_memory
from ..progress import Progress
from .stage import Batch, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class TrainingData:
    """Normal images for training and for choosing the epoch: (n, c, h, w) uint8 or float32 in [0, 1], disjoint."""

    train: NDArray[Any]
    stop: NDArray[Any]


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


class _Running(lightning.LightningModule):
    """One stage as Lightning sees it: the loader only counts steps, every batch follows from seed, epoch and step."""

    def __init__(self, networks: nn.Module, stage: Stage, number: int, data: TrainingData, run: RunSettings) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks = networks
        self._stage, self._number, self._run = stage, number, run
        self._images = torch.from_numpy(data.train)
        self._stop_images = torch.from_numpy(data.stop)
        self._batch_size = min(run.batch_size, len(data.train))
        self.steps = max(math.ceil(len(data.train) / self._batch_size), stage.fewest_steps)
        self._order = torch.empty(0, dtype=torch.int64)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"figure": -math.inf, "epoch": 0, "weights": {}}
        self._totals: dict[str, float] = {}

    def _generator(self, *position: int) -> Generator:
        words = np.random.SeedSequence([self._run.seed, self._number, *position]).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))

    def _float(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        return images.contiguous(memory_format=torch.channels_last)

    def train_dataloader(self) -> range:
        return range(self.steps)

    def configure_optimizers(self) -> Any:
        optimizers, schedulers = [], []
        for player in self._stage.players:
            optimizer = player.optimizer(list(player.parameters), lr=player.learning_rate)
            optimizers.append(optimizer)
            if player.schedule is not None:
                schedule = player.schedule.make(optimizer, self.steps * self._stage.epochs)
                schedulers.append({"scheduler": schedule, "monitor": "stop"})
        return optimizers, schedulers

    def on_train_epoch_start(self) -> None:
        generator = self._generator(self.current_epoch)
        torch.manual_seed(generator.initial_seed())  # for layers that draw from the global generator
        passes = math.ceil(self.steps * self._batch_size / len(self._images))
        self._order = torch.cat([torch.randperm(len(self._images), generator=generator) for _ in range(passes)])
        self._totals = {}

    def training_step(self, step: int) -> None:
        begin = step * self._batch_size
        chosen = self._order[begin : begin + self._batch_size]
        batch = Batch(self._float(self._images[chosen]), self._generator(self.current_epoch, 1 + step))
        optimizers: Any = self.optimizers(use_pl_optimizer=True)
        schedules = iter(self._schedules())
        for player, optimizer in zip(self._stage.players, _as_list(optimizers), strict=True):
            schedule = next(schedules) if player.schedule is not None else None
            if self.current_epoch % player.every_epochs:
                continue
            terms = player.terms(batch)
            loss = torch.stack(list(terms.values())).sum()
            self._check(player.name, terms)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            if schedule is not None and player.schedule is not None and player.schedule.per == "step":
                schedule.step()

    def _schedules(self) -> list[Any]:
        schedules: Any = self.lr_schedulers()
        return [] if schedules is None else _as_list(schedules)

    def _check(self, player: str, terms: dict[str, Tensor]) -> None:
        for name, term in terms.items():
            value = float(term.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} of the {player} became {value} in epoch {self.current_epoch + 1} of stage "
                    f"{self._stage.name}; lower learning_rate (a tenth is a good try), or set precision=float32"
                )
            self._totals[name] = self._totals.get(name, 0.0) + value / self.steps

    def on_train_epoch_end(self) -> None:
        self.networks.eval()
        with torch.no_grad():
            figure = self._stage.monitor(self._float(self._stop_images), self._generator())
        self.networks.train()
        if not math.isfinite(figure):
            raise TrainingError(
                f"the stop figure became {figure} in epoch {self.current_epoch + 1} of stage {self._stage.name}; "
                "lower learning_rate (a tenth is a good try), or set precision=float32"
            )
        self.history.append({"epoch": self.current_epoch + 1, **self._totals, "stop": figure})
        self.log("stop", torch.tensor(figure, dtype=torch.float32))
        for schedule in self._schedules():
            if isinstance(schedule, ReduceLROnPlateau):
                schedule.step(figure)
        self._keep_if_best(figure)
        detail = ", ".join(f"{name} {value:.4f}" for name, value in self._totals.items())
        self._run.progress(
            self._stage.name, self.current_epoch + 1, self._stage.epochs, f"{detail}, stop figure {figure:.4f}"
        )

    def _keep_if_best(self, figure: float) -> None:
        """Hold the weights of the best epoch; of equal ones the last, which has learnt for longest."""
        signed = figure if self._stage.better == "max" else -figure
        if signed >= self.best["figure"]:
            state = self.networks.state_dict()
            weights = {name: value.detach().cpu().clone() for name, value in state.items()}
            self.best = {"figure": signed, "epoch": self.current_epoch + 1, "weights": weights}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["amiss"] = {"history": self.history, "best": self.best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.best = checkpoint["amiss"]["history"], checkpoint["amiss"]["best"]


def run_stages(
    networks: nn.Module, stages: Sequence[Stage], data: TrainingData, run: RunSettings
) -> list[dict[str, Any]]:
    """Train `networks` in place, stage after stage, and leave each stage's best weights in it.

    With a `work_dir`, every epoch leaves a checkpoint there; with `resume`, training goes on from it to the result
    that an unbroken run would have had (on the same machine).

    Returns: a record of each stage: its epochs, the chosen one and the figures of each.

    Raises:
        TrainingError: a loss or stop figure that is not finite; the message names the cure.
    """
    keep_freed_memory()
    records = []
    for number, stage in enumerate(stages):
        finished = run.work_dir / f"stage-{number}.finished.ckpt" if run.work_dir else None
        if finished is not None and run.resume and finished.exists():
            kept = _checkpoint(finished)
            networks.load_state_dict(kept["weights"])
            records.append(kept["record"])
            continue
        record, weights = _run_stage(networks, stage, number, data, run)
        networks.load_state_dict(weights)
        records.append(record)
        if finished is not None:
            partial = finished.with_suffix(".partial")
            torch.save({"weights": weights, "record": record}, partial)
            partial.replace(finished)
    networks.to("cpu").eval()
    return records


def _run_stage(
    networks: nn.Module, stage: Stage, number: int, data: TrainingData, run: RunSettings
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    networks.train()
    running = _Running(networks, stage, number, data, run).to(memory_format=torch.channels_last)
    callbacks: list[Callback] = []
    if stage.patience is not None:
        callbacks.append(
            EarlyStopping("stop", mode=stage.better, patience=stage.patience, check_on_train_epoch_end=True)
        )
    checkpoint = None
    if run.work_dir is not None:
        name = f"stage-{number}"
        callbacks.append(
            ModelCheckpoint(run.work_dir, name, save_on_train_epoch_end=True, enable_version_counter=False)
        )
        checkpoint = run.work_dir / f"{name}.ckpt"
    start = time.perf_counter()
    with _quiet(), torch.random.fork_rng():
        trainer = lightning.Trainer(
            max_epochs=stage.epochs,
            accelerator="auto" if run.device == "auto" else run.device,
            devices=1,
            precision="bf16-mixed" if run.precision == "bfloat16" else "32-true",
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=run.work_dir is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=run.work_dir,
        )
        resume_from = checkpoint if run.resume and checkpoint is not None and checkpoint.exists() else None
        if resume_from is not None:
            _checkpoint(resume_from)
        try:
            trainer.fit(running, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
    record = {
        "stage": stage.name,
        "epochs": len(running.history),
        "chosen_epoch": running.best["epoch"],
        "better": stage.better,
        "steps_per_epoch": running.steps,
        "seconds": round(time.perf_counter() - start, 1),
        "figures": running.history,
    }
    return record, running.best["weights"]


def _checkpoint(path: Path) -> Any:
    """What a checkpoint holds. Raises `TrainingError` where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch meets cut files with errors of many kinds
        raise TrainingError(f"the checkpoint {path} is damaged; fit again without resume") from error


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's banners and hints are for its own users; ours see the progress of the fit."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*_pytree.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
