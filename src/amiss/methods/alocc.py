"""ALOCC: adversarially learned one-class classifier (Sabokrou et al. 2018), a baseline of G2D and ALPS."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, objectives, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..settings import WholeNumbers, narrowed, setting


@dataclass(kw_only=True, eq=False)
class ALOCC(Detector["networks.discriminator.DiscriminatorScorer"]):
    """A denoising autoencoder and a discriminator train against each other; the discriminator scores reconstructions.

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
    filters: tuple[int, ...] = setting(
        (32, 64, 128), "of the autoencoder's encoder, with commas", kind=WholeNumbers(least=2)
    )
    compression: float = setting(
        32.0,
        "numbers of the image for each number of the code: the code has fewer channels for small images; 0: as many as "
        "filters say",
        low=0.0,
        before=0.0,
    )
    patience: int = setting(8, "epochs without a better error before training stops", low=1)
    fewest_steps: int = setting(20, "an epoch passes through few images several times, to this many steps", low=1)

    @classmethod
    def quick_settings(cls) -> dict[str, object]:
        return {"filters": narrowed(cls().filters), "fewest_steps": 10}

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "fewest_steps": 2, "compression": 0.0}  # a code of one channel may stay dead for as long

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.discriminator.DiscriminatorScorer:
        autoencoder = networks.autoencoder.Autoencoder(shape, filters=self.filters, compression=self.compression)
        discriminator = networks.discriminator.ImageDiscriminator(shape)
        return networks.discriminator.DiscriminatorScorer(autoencoder, discriminator)

    def stages(self, scorer: networks.discriminator.DiscriminatorScorer) -> Sequence[training.stage.Stage]:
        autoencoder, discriminator = scorer.network, scorer.discriminator

        def painted_from_noisy(batch: training.stage.Batch) -> torch.Tensor:
            painted: torch.Tensor = autoencoder(objectives.corruption.noisy(batch.images, self.noise, batch.generator))
            return painted

        def autoencoder_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            painted = painted_from_noisy(batch)
            error = objectives.reconstruction.squared_error(batch.images, painted).mean()
            return {
                "reconstruction error": self.reconstruction_weight * error,
                "generator loss": objectives.adversarial.generator_loss(discriminator(painted)),
            }

        def discriminator_terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            painted = painted_from_noisy(batch).detach()
            loss = objectives.adversarial.discriminator_loss(discriminator(batch.images), discriminator(painted))
            return {"discriminator loss": loss}

        def monitor(held: training.stage.Held) -> float:
            errors = (
                objectives.reconstruction.squared_error(part, autoencoder(part)).mean(dim=(1, 2)).sum()
                for part in torch.split(held.images, 256)
            )
            return sum(float(error) for error in errors) / len(held.images)

        adam = functools.partial(torch.optim.Adam, betas=(0.5, 0.999))
        players = [
            training.stage.Player(
                "discriminator",
                list(discriminator.parameters()),
                discriminator_terms,
                self.learning_rate,
                optimizer=adam,
            ),
            training.stage.Player(
                "autoencoder", list(autoencoder.parameters()), autoencoder_terms, self.learning_rate, optimizer=adam
            ),
        ]
        return [
            training.stage.Stage(
                "fit", players, self.epochs, monitor, patience=self.patience, fewest_steps=self.fewest_steps
            )
        ]
