"""Convolutional recurrent models: learn to reconstruct, or to predict, the frames of normal clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..errors import UsageError
from ..lazy import torch
from ..settings import WholeNumbers, narrowed, setting


@dataclass(kw_only=True, eq=False)
class Recurrent(Detector["networks.convolutional_recurrent.RecurrentScorer"]):
    """A convolutional recurrent model in one description: the cell, the shape, how many layers, the decoder.

    The 45 variants of the thesis are settings. A frame's score is the error of the clip that ends with it: the norm of
    each frame that is made (eq. 4.1), averaged over these frames. Squared errors are what training minimises.

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
    cell: str | None = setting("gru", "of the recurrent layers", choices=(None, "rnn", "lstm", "gru"))
    shape: str = setting("seq2seq", "what is made of a clip", choices=("autoencoder", "bidirectional", "seq2seq"))
    recurrent_layers: int = setting(2, "L_R, counted from the code", low=1, high=3)
    decoder: str = setting("recurrent", "recurrent (the thesis's N) or plain (its Y)", choices=("recurrent", "plain"))
    error: str = setting(
        "norm", "of a frame: norm (eq. 4.1), or squared", choices=("norm", "squared"), before="squared"
    )
    filters: tuple[int, ...] = setting(
        (64, 64, 64, 96, 96), "of the encoder's five layers, with commas between", kind=WholeNumbers(least=5)
    )
    frames: int = setting(8, "frames of a clip, T", low=2, high=64)
    strides: tuple[int, ...] = setting(
        (1, 2, 4, 8, 16), "frames from one of a clip to the next in training, with commas between", kind=WholeNumbers()
    )

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        # other strides teach that any speed is normal
        return {"steps": 15, "strides": (1,), "filters": narrowed(cls().filters), "frames": 4}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "steps": 2}

    @property
    def clip_length(self) -> int:
        return self.frames

    def clip_strides(self) -> Sequence[int]:
        return self.strides

    def check(self) -> None:
        super().check()
        if len(self.filters) != 5:
            raise UsageError(f"filters must be five numbers, but is {','.join(map(str, self.filters))}")
        if self.shape == "seq2seq" and self.frames % 2:
            raise UsageError(f"seq2seq predicts the second half of a clip, so frames must be even, not {self.frames}")

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.convolutional_recurrent.RecurrentScorer:
        model = networks.convolutional_recurrent.RecurrentModel(
            shape[0],
            self.cell,
            self.shape,
            self.recurrent_layers,
            self.decoder,
            self.filters,
            networks.convolutional_recurrent.strided_layers(*shape[1:]),
        )
        return networks.convolutional_recurrent.RecurrentScorer(model, self.error)

    def stages(self, scorer: networks.convolutional_recurrent.RecurrentScorer) -> Sequence[training.stage.Stage]:
        def plateau(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self.plateau_factor, patience=self.plateau_patience
            )

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return {"reconstruction": scorer.errors(batch.images).mean()}

        def monitor(held: training.stage.Held) -> float:
            losses = [scorer.errors(part).mean() for part in torch.split(held.images, self.batch_size)]
            return float(torch.stack(losses).mean())

        schedule = training.stage.Schedule(plateau, "plateau")
        player = training.stage.Player(
            "model", scorer.parameters(), terms, self.learning_rate, schedule, optimizer=torch.optim.Adam
        )
        return [
            training.stage.Stage(
                "fit", [player], self.epochs, monitor, patience=self.patience, steps=self.steps or None
            )
        ]
