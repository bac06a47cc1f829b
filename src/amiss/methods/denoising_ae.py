"""Denoising autoencoder (Vincent et al. 2010), a baseline that ALPS names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class DenoisingAE(Reconstructor):
    """BCAE1 that learns to paint the clean image from a noisy one.

    >>> DenoisingAE().get_params()["corruption"]
    'noise'
    """

    title: ClassVar[str] = "Denoising autoencoder"
    paper: ClassVar[str] = "Vincent et al. 2010; in Khazaie 2022"
    good_for: ClassVar[str] = "a baseline beside BCAE1: does not paint noise"

    corruption: str | None = preset(Reconstructor, "corruption", "noise")
