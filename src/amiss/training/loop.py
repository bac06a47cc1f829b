"""Runs the stages of a detector's training on Lightning: checkpoints, resume, early stopping, devices, precision."""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Sequence
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

from ..data.clips import Clips
from ..errors import TrainingError
from ..machine import keep_freed_memory
from ..metrics import Ranking
from ..progress import Progress
from .stage import Batch, Computation, Pass, PreparedImages, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from, each (n, c, h, w) uint8 or float32 in [0, 1].

    Attributes:
        train, stop: disjoint normal images, or clips, for training and for choosing the epoch.
        anomalies: labelled ones to learn from, if any.
        masks: (m, 1, h, w) int8 of the anomalies, see `Batch.masks`.
        validation: labelled images and (n,) bool, True = anomalous, whose AUROC chooses the epoch instead; a choice
            that has seen anomalies, and is recorded as such.
    """

    train: NDArray[Any] | Clips
    stop: NDArray[Any] | Clips
    anomalies: NDArray[Any] | None = None
    validation: tuple[NDArray[Any], NDArray[np.bool_]] | None = None
    masks: NDArray[np.int8] | None = None


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
    """A record of each stage (its epochs, the chosen one, the figures of each), and what looked wrong in any."""

    records: list[dict[str, Any]]
    warnings: list[str]


class _Running(lightning.LightningModule):
    """One stage as Lightning sees it: the loader only counts steps, every batch follows from seed, epoch and step."""

    def __init__(
        self, networks: nn.ModuleDict, stage: Stage, number: int, data: TrainingData, run: RunSettings, folder: Path
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks = networks
        self._stage, self._number, self._run, self._data, self._folder = stage, number, run, data, folder
        self._batch_size = min(stage.batch_size or run.batch_size, len(data.train))
        self.steps = stage.steps or max(math.ceil(len(data.train) / self._batch_size), stage.fewest_steps)
        self._order = torch.empty(0, dtype=torch.int64)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"figure": -math.inf, "epoch": 0, "weights": {}}
        self._totals: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def _generator(self, *position: int) -> Generator:
        return _generator(self._run.seed, self._number, *position)

    def _prepared(self, images: NDArray[Any] | Clips) -> PreparedImages:
        return PreparedImages(images, self.device)

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
        passes = math.ceil(self.steps * self._batch_size / len(self._data.train))
        orders = [torch.randperm(len(self._data.train), generator=generator) for _ in range(passes)]
        self._order = torch.cat(orders)
        self._totals, self._counts = {}, {}
        self.networks.train(not self._stage.frozen)

    def training_step(self, step: int) -> None:
        begin = step * self._batch_size
        chosen = self._order[begin : begin + self._batch_size]
        images = self._prepared(self._data.train)[chosen]
        optimizers: Any = self.optimizers(use_pl_optimizer=True)
        schedules = iter(self._schedules())
        for player, optimizer in zip(self._stage.players, _as_list(optimizers), strict=True):
            schedule = next(schedules) if player.schedule is not None else None
            if self.current_epoch % player.every_epochs or step % player.every_steps:
                continue
            for move in range(player.moves):
                generator = self._generator(self.current_epoch, 1 + step, *([move] if move else []))
                terms = player.terms(Batch(images, generator, *self._draw_anomalies(generator)))
                if not terms:
                    continue
                loss = torch.stack(list(terms.values())).sum()
                self._check(player.name, terms)
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            if schedule is not None and player.schedule is not None and player.schedule.per == "step":
                schedule.step()

    def _draw_anomalies(self, generator: Generator) -> tuple[Tensor | None, Tensor | None]:
        """All labelled anomalies, or a batch of them; one generator for each move keeps other draws as they were."""
        if self._data.anomalies is None:
            return None, None
        drawing = torch.Generator().manual_seed(generator.initial_seed() ^ 0x5EED)
        order = torch.randperm(len(self._data.anomalies), generator=drawing)
        chosen = order[: self._batch_size]
        given = self._data.masks
        masks = None if given is None else torch.from_numpy(given[chosen.numpy()]).to(self.device)
        return self._prepared(self._data.anomalies)[chosen], masks

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
            self._totals[name] = self._totals.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def on_train_epoch_end(self) -> None:
        figures = {name: total / self._counts[name] for name, total in self._totals.items()}
        self.networks.eval()
        with torch.no_grad():
            figures |= self._measure()
        self.history.append({"epoch": self.current_epoch + 1, **figures})
        if "stop" in figures:
            self.log("stop", torch.tensor(figures["stop"], dtype=torch.float32))
            for schedule in self._schedules():
                if isinstance(schedule, ReduceLROnPlateau):
                    schedule.step(figures["stop"])
        self._keep_if_best(figures)
        if self._stage.after_epoch is not None:
            self._stage.after_epoch(self.current_epoch, self._folder)
        shown = [name for name in figures if name in self._totals or name in ("stop", "validation AUROC")]
        detail = ", ".join(f"{name} {figures[name]:.4f}" for name in shown)
        self._run.progress(self._stage.name, self.current_epoch + 1, self._stage.epochs, detail)

    def _measure(self) -> dict[str, float]:
        figures = {}
        stop = self._prepared(self._data.stop)[:]
        if self._stage.monitor is not None:
            figures["stop"] = self._stage.monitor(stop, self._generator())
        if self._stage.measure is not None:
            figures |= self._stage.measure(stop)
        if self._data.validation is not None and self._stage.monitor is not None:
            images, anomalous = self._data.validation
            parts = [self.networks["scorer"](part)["score"] for part in self._prepared(images).batches()]
            scores = torch.cat(parts).float().cpu().numpy()
            figures["validation AUROC"] = (
                float(Ranking(scores, anomalous).auroc()) if np.isfinite(scores).all() else math.nan
            )
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise TrainingError(
                    f"the {name} figure became {figure} in epoch {self.current_epoch + 1} of stage {self._stage.name}; "
                    "lower learning_rate (a tenth is a good try), or set precision=float32"
                )
        return figures

    def _keep_if_best(self, figures: dict[str, float]) -> None:
        """Hold the weights of the best epoch; of equal ones the last, which has learnt for longest."""
        if self._stage.keep == "last" or not {"stop", "validation AUROC"} & set(figures):
            signed = float(self.current_epoch)
        elif "validation AUROC" in figures:
            signed = figures["validation AUROC"]
        else:
            signed = figures["stop"] if self._stage.better == "max" else -figures["stop"]
        if signed >= self.best["figure"]:
            state = self.networks.state_dict()
            _check_finite(state, self._stage.name)
            weights = {name: value.detach().cpu().clone() for name, value in state.items()}
            self.best = {"figure": signed, "epoch": self.current_epoch + 1, "weights": weights}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["amiss"] = {"history": self.history, "best": self.best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.best = checkpoint["amiss"]["history"], checkpoint["amiss"]["best"]


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
    records: list[dict[str, Any]] = []
    found: list[str] = []
    with contextlib.ExitStack() as held:
        folder = run.work_dir or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="amiss-")))
        for number, stage in enumerate(stages):
            if isinstance(stage, Computation):  # cheap, and a resumed run computes the same again
                record = _run_computation(networks, stage, number, data, run, folder, records)
            else:
                record = _run_or_restore(networks, stage, number, data, run, folder)
            records.append(record)
            found += stage.diagnose(record["figures"]) if stage.diagnose is not None else []
    scorer.to("cpu").eval()
    return Outcome(records, found)


def _run_or_restore(
    networks: nn.ModuleDict, stage: Stage, number: int, data: TrainingData, run: RunSettings, folder: Path
) -> dict[str, Any]:
    finished = folder / f"stage-{number}.finished.ckpt"
    if run.resume and finished.exists():
        kept = _checkpoint(finished)
        networks.load_state_dict(kept["weights"])
        restored: dict[str, Any] = kept["record"]
        return restored
    record = _run_stage(networks, stage, number, data, run, folder)
    if run.work_dir is not None:
        partial = finished.with_suffix(".partial")
        torch.save({"weights": networks.state_dict(), "record": record}, partial)
        partial.replace(finished)
    return record


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
    records: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    start = time.perf_counter()
    networks.to(run.device).eval()
    train, stop = (PreparedImages(part, run.device) for part in (data.train, data.stop))
    with torch.no_grad(), torch.random.fork_rng():
        generator = _generator(run.seed, number)
        torch.manual_seed(generator.initial_seed())
        figures = computation.compute(Pass(train, stop, generator, folder, records))
    run.progress(computation.name, 1, 1, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return {
        "stage": computation.name,
        "epochs": 1,
        "chosen_epoch": 1,
        "chosen_by": "no choice",
        "better": "min",
        "steps_per_epoch": 1,
        "seconds": round(time.perf_counter() - start, 1),
        "figures": [{"epoch": 1, **figures}],
    }


def _run_stage(
    networks: nn.ModuleDict, stage: Stage, number: int, data: TrainingData, run: RunSettings, folder: Path
) -> dict[str, Any]:
    running = _Running(networks, stage, number, data, run, folder).to(memory_format=torch.channels_last)
    callbacks: list[Callback] = []
    if stage.patience is not None and stage.monitor is not None:
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
        left = _checkpoint(resume_from) if resume_from is not None else None
        if left is not None and _had_stopped(left):  # Lightning would go on for another epoch
            running.on_load_checkpoint(left)
        else:
            try:
                trainer.fit(running, ckpt_path=resume_from, weights_only=True)
            except SystemExit as error:  # Lightning's answer to Ctrl-C
                raise KeyboardInterrupt from error
    networks.load_state_dict(running.best["weights"])
    return {
        "stage": stage.name,
        "epochs": len(running.history),
        "chosen_epoch": running.best["epoch"],
        "chosen_by": _chosen_by(stage, data),
        "better": stage.better,
        "steps_per_epoch": running.steps,
        "seconds": round(time.perf_counter() - start, 1),
        "figures": running.history,
    }


def _chosen_by(stage: Stage, data: TrainingData) -> str:
    if stage.keep == "last" or stage.monitor is None:
        return "the last epoch"
    if data.validation is not None:
        return f"labelled validation ({int(data.validation[1].sum())} anomalies seen)"
    return "held-out normals"


def _checkpoint(path: Path) -> Any:
    """What a checkpoint holds. Raises `TrainingError` where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch meets cut files with errors of many kinds
        raise TrainingError(f"the checkpoint {path} is damaged; fit again without resume") from error


def _had_stopped(checkpoint: dict[str, Any]) -> bool:
    """Was it the last epoch of a stage that stopped early?"""
    stoppers = [state for name, state in checkpoint.get("callbacks", {}).items() if name.startswith("EarlyStopping")]
    return any(state["stopped_epoch"] or state["wait_count"] >= state["patience"] for state in stoppers)


def _check_finite(weights: dict[str, Tensor], stage: str) -> None:
    """A weight that touches no pixel does not show in any score, until it does. Raises `TrainingError`."""
    for name, values in weights.items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise TrainingError(
                f"{name} is no longer finite after stage {stage}; set precision=float32 or a larger size"
            )


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@contextlib.contextmanager
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
