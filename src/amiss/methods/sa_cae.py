"""SA-CAE: an autoencoder behind learnable input attention (Ravi's thesis, section 3.5.3, eq. 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class SACAE(Reconstructor):
    """BCAE1 that sees the image weighted by a learnt attention map, whose norm is part of the loss.

    >>> SACAE().get_params()["gate"]
    'sa'
    """

    title: ClassVar[str] = "Soft-attention autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, sections 3.5.3, 4.7"
    good_for: ClassVar[str] = "images where part of the view does not matter"

    gate: str | None = preset(Reconstructor, "gate", "sa")
