"""AAE: the adversarial autoencoder that ADNL builds on (Lee et al. 2021, section 4.2; Makhzani et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class AAE(Reconstructor):
    """A DCGAN-like autoencoder whose codes are pushed towards a Gaussian by a discriminator.

    Each step, the discriminator learns to tell codes from Gaussian draws, and the encoder to pass its codes off as
    such. The paper trains 100 epochs with batches of 256 on MNIST, at 64 x 64 pixels. Filters and code length are not
    printed, and ours.

    >>> AAE().get_params()["code"]
    'prior'
    """

    title: ClassVar[str] = "Adversarial autoencoder"
    paper: ClassVar[str] = "Lee et al. 2021, section 4.2"
    good_for: ClassVar[str] = "the base of ADNL; several kinds of normal images at once"

    network: str = preset(Reconstructor, "network", "dcgan")
    filters: tuple[int, ...] = preset(Reconstructor, "filters", (64, 128, 256, 64))
    compression: float = preset(Reconstructor, "compression", 0.0)
    code: str = preset(Reconstructor, "code", "prior")
    epochs: int = preset(Reconstructor, "epochs", 100)
    batch_size: int = preset(Reconstructor, "batch_size", 256)
