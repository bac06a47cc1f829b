"""ALOCC: adversarially learned one-class classifier (Sabokrou et al. 2018), a baseline of G2D and ALPS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Detector
from .settings import setting, whole_numbers

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from ..training.stage import Batch, Computation, Stage


@dataclass(kw_only=True, eq=False)
class ALOCC(Detector):
    """A denoising autoencoder and a discriminator train against each other; the discriminator judges reconstructions.

    The autoencoder paints clean images from noisy ones and tries to pass its paintings off as images; of anomalies it
    paints what the discriminator knows to be none. Score: how surely D takes the reconstruction for one (minus its
    logit), 1 - D(R(x)) in the authors' form, which ranks alike. The authors stop when the reconstruction is good; here
    the epoch is chosen by the error on held-out normals. Networks are ours.

    >>> ALOCC().get_params()["reconstruction_weight"]
    10.0
    """

    title: ClassVar[str] = "Adversarially learned one-class classifier"
    paper: ClassVar[str] = "Sabokrou et al. 2018; in Pourreza 2021, tables 1, 2"
    family: ClassVar[str] = "reconstructs, and judges the reconstruction"
    good_for: ClassVar[str] = "a baseline; unstable: look at several seeds; gives no map"

    epochs: int = setting(30, "most passes through the training images", low=1)
    learning_rate: float = setting(2e-4, "of both optimizers", low=0.0)
    noise: float = setting(0.2, "standard deviation of the noise in the input, in training", low=0.0)
    reconstruction_weight: float = setting(10.0, "of the autoencoder's squared error", low=0.0)
    filters: str = setting("32,64,128", "of the autoencoder's encoder, with commas")
    patience: int = setting(8, "epochs without a better error before training stops", low=1)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    def check(self) -> None:
        super().check()
        whole_numbers("filters", self.filters, least=2)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.autoencoder import Autoencoder
        from ..networks.discriminator import ImageDiscriminator, JudgedReconstructionScorer

        autoencoder = Autoencoder(shape, filters=whole_numbers("filters", self.filters, least=2))
        return JudgedReconstructionScorer(autoencoder, ImageDiscriminator(shape))

    def stages(self, scorer: Any) -> Sequence[Stage | Computation]:
        import functools

        import torch
        from torch.optim import Adam

        from ..objectives.adversarial import passed_off, told_apart
        from ..objectives.corruption import noisy
        from ..objectives.reconstruction import squared_error
        from ..training.stage import Player, Stage

        painter, judge = scorer.network, scorer.discriminator

        def paint(batch: Batch) -> dict[str, Tensor]:
            painted = painter(noisy(batch.images, self.noise, batch.generator))
            error = squared_error(batch.images, painted).mean()
            return {
                "reconstruction error": self.reconstruction_weight * error,
                "passed off": passed_off(judge(painted)),
            }

        def tell(batch: Batch) -> dict[str, Tensor]:
            painted = painter(noisy(batch.images, self.noise, batch.generator)).detach()
            return {"discriminator": told_apart(judge(batch.images), judge(painted))}

        def monitor(images: Tensor, generator: Generator) -> float:
            parts = torch.split(images, 256)
            return sum(float(squared_error(part, painter(part)).mean(dim=(1, 2)).sum()) for part in parts) / len(images)

        adam = functools.partial(Adam, betas=(0.5, 0.999))
        players = [
            Player("discriminator", list(judge.parameters()), tell, self.learning_rate, optimizer=adam),
            Player("autoencoder", list(painter.parameters()), paint, self.learning_rate, optimizer=adam),
        ]
        fit = Stage("fit", players, self.epochs, monitor, patience=self.patience, fewest_steps=self.fewest_steps)
        return [fit]
