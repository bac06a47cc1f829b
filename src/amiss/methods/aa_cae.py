"""AA-CAE: an autoencoder with attention-augmented convolutions (Ravi's thesis, section 3.5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class AACAE(Reconstructor):
    """BCAE1 whose convolutions have self-attention over the whole image beside them, but for those next to the code.

    >>> AACAE().get_params()["conv"]
    'attention'
    """

    title: ClassVar[str] = "Attention-augmented autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, sections 3.5.2, 4.7"
    good_for: ClassVar[str] = "scenes where far-apart parts belong together; slow on a CPU"

    conv: str = preset(Reconstructor, "conv", "attention")
