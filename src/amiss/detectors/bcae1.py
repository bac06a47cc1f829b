"""BCAE1: the baseline convolutional autoencoder of Ravi's thesis (section 4.4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from ..training.stage import Batch, Stage


@dataclass(kw_only=True, eq=False)
class BCAE1(Detector):
    """An autoencoder learns to reconstruct normal images; what it reconstructs badly is anomalous.

    Score: mean squared error over the image; map: over each place's channels. Adam at 1e-3, times 0.75 after four
    epochs without a better error on the stop part, at most 300 epochs, stopped after eight without a better one
    (section 4.4.1).

    >>> BCAE1().get_params()["epochs"]
    300
    """

    title: ClassVar[str] = "Baseline convolutional autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, section 4.4.2"
    family: ClassVar[str] = "reconstructs"
    good_for: ClassVar[str] = "a baseline with a map: large changes of shape or brightness"
    has_map: ClassVar[bool] = True

    epochs: int = setting(300, "most passes through the training images", low=1)
    patience: int = setting(8, "epochs without a better error before training stops", low=1)
    plateau_patience: int = setting(4, "epochs without a better error before the learning rate falls", low=0)
    plateau_factor: float = setting(0.75, "what the learning rate is then multiplied by", low=0.01, high=0.99)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.autoencoder import Autoencoder, ReconstructionScorer

        return ReconstructionScorer(Autoencoder(shape))

    def stages(self, scorer: nn.Module) -> list[Stage]:
        import torch
        from torch.optim import Adam
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        from ..training.stage import Player, Schedule, Stage

        def plateau(optimizer: Optimizer, steps: int) -> ReduceLROnPlateau:
            return ReduceLROnPlateau(optimizer, factor=self.plateau_factor, patience=self.plateau_patience)

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"reconstruction error": scorer(batch.images)["score"].mean()}

        def monitor(images: Tensor, generator: Generator) -> float:
            return sum(float(scorer(part)["score"].sum()) for part in torch.split(images, 256)) / len(images)

        autoencoder = Player(
            "autoencoder",
            scorer.parameters(),
            terms,
            self.learning_rate,
            Schedule(plateau, "plateau"),
            optimizer=Adam,
        )
        return [Stage("fit", [autoencoder], self.epochs, monitor, "min", self.patience, self.fewest_steps)]
