"""Convolutional recurrent models: learn to reconstruct, or to predict, the frames of normal clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError
from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from ..training.stage import Batch, Computation, Stage


@dataclass(kw_only=True, eq=False)
class Recurrent(Detector):
    """A convolutional recurrent model in one description: the cell, the shape, how many layers, the decoder.

    The 45 variants of the thesis are settings. A frame's score is the error of the clip that ends with it, averaged
    over the frames that are made and over the pixels.

    >>> Recurrent(cell="lstm", shape="autoencoder", recurrent_layers=1).clip_length
    8
    """

    title: ClassVar[str] = "Convolutional recurrent models"
    paper: ClassVar[str] = "Ravi 2021, thesis, 3.7 and 4.9"
    family: ClassVar[str] = "reconstructs"
    needs: ClassVar[str] = "normal video"
    good_for: ClassVar[str] = "the thesis's tables; hours to fit on a CPU, and frame differences are hard to beat"
    has_map: ClassVar[bool] = True

    epochs: int = setting(300, "most epochs; training stops earlier where nothing is gained", low=1)
    steps: int = setting(0, "training steps in an epoch; 0 passes through all clips", low=0)
    batch_size: int = setting(8, "clips in each training step", low=2)
    learning_rate: float = setting(1e-3, "of the optimizer", low=0.0)
    patience: int = setting(8, "epochs without a better error before training stops", low=1)
    plateau_patience: int = setting(4, "epochs without a better error before the learning rate falls", low=0)
    plateau_factor: float = setting(0.75, "by which it falls", low=0.0, high=1.0)
    cell: str = setting("gru", "of the recurrent layers", choices=("none", "rnn", "lstm", "gru"))
    shape: str = setting("seq2seq", "what is made of a clip", choices=("autoencoder", "bidirectional", "seq2seq"))
    recurrent_layers: int = setting(2, "L_R, counted from the code", low=1, high=3)
    decoder: str = setting("recurrent", "recurrent (the thesis's N) or plain (its Y)", choices=("recurrent", "plain"))
    filters: str = setting("64,64,64,96,96", "of the encoder's five layers, with commas between")
    frames: int = setting(8, "frames of a clip, T", low=2, high=64)
    strides: str = setting("1,2,4,8,16", "frames from one of a clip to the next in training, with commas between")

    @property
    def clip_length(self) -> int:
        return self.frames

    def clip_strides(self) -> Sequence[int]:
        return self._numbers("strides")

    def check(self) -> None:
        super().check()
        if len(self._numbers("filters")) != 5:
            raise UsageError(f"filters must be five numbers with commas between, but is {self.filters!r}")
        self._numbers("strides")
        if self.shape == "seq2seq" and self.frames % 2:
            raise UsageError(f"seq2seq predicts the second half of a clip, so frames must be even, not {self.frames}")

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.recurrent import RecurrentModel, RecurrentScorer, strided_layers

        filters = tuple(self._numbers("filters"))
        layers = (self.cell, self.shape, self.recurrent_layers, self.decoder)
        return RecurrentScorer(RecurrentModel(shape[0], *layers, filters, strided_layers(*shape[1:])))

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        import torch
        from torch.optim import Adam
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        from ..training.stage import Player, Schedule, Stage

        def plateau(optimizer: Optimizer, steps: int) -> LRScheduler:
            return ReduceLROnPlateau(optimizer, factor=self.plateau_factor, patience=self.plateau_patience)

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"reconstruction": scorer.errors(batch.images).mean()}

        def monitor(clips: Tensor, generator: Generator) -> float:
            losses = [scorer.errors(part).mean() for part in torch.split(clips, self.batch_size)]
            return float(torch.stack(losses).mean())

        player = Player(
            "model", scorer.parameters(), terms, self.learning_rate, Schedule(plateau, "plateau"), optimizer=Adam
        )
        return [Stage("fit", [player], self.epochs, monitor, patience=self.patience, steps=self.steps or None)]

    def _numbers(self, name: str) -> list[int]:
        text = getattr(self, name)
        try:
            numbers = [int(each) for each in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < 1:
            raise UsageError(f"{name} must be whole numbers from 1 with commas between, but is {text!r}")
        return numbers
