"""SSA-CAE: an autoencoder behind softmax input attention (Ravi's thesis, section 3.5.3, eq. 3.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class SSACAE(Reconstructor):
    """BCAE1 that sees the image weighted by bands of attention: softmax over rows times softmax over columns.

    >>> SSACAE().get_params()["gate"]
    'ssa'
    """

    title: ClassVar[str] = "Softmax soft-attention autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, sections 3.5.3, 4.7"
    good_for: ClassVar[str] = "scenes with a fixed place of interest, such as video from a still camera"

    gate: str | None = preset(Reconstructor, "gate", "ssa")
