"""Context autoencoder (Pathak et al. 2016), a baseline that ALPS names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class ContextAE(Reconstructor):
    """BCAE1 that learns to paint the whole image from one with a rectangle hidden.

    >>> ContextAE().get_params()["corruption"]
    'mask'
    """

    title: ClassVar[str] = "Context autoencoder"
    paper: ClassVar[str] = "Pathak et al. 2016; in Khazaie 2022"
    good_for: ClassVar[str] = "a baseline beside BCAE1: fills in what it expects"

    corruption: str | None = preset(Reconstructor, "corruption", "mask")
