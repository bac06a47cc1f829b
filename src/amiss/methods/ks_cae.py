"""KS-CAE: an autoencoder with strengthened kernels (Ravi's thesis, sections 3.3 and 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class KSCAE(Reconstructor):
    """BCAE2 with asymmetric kernels beside the square ones and half its filters in the middle layers.

    Every 3 x 3 kernel of all layers but the two next to the code has a 3 x 1 and a 1 x 3 kernel beside it, whose
    outputs are added (eq. 3.4). When training ends they are fused into one kernel each: the saved network is a plain
    one.

    "Half in the middle" is read as the encoder's second to fourth layer, 128, 256, 512 to 64, 128, 256.

    >>> KSCAE().get_params()["conv"]
    'asymmetric'
    """

    title: ClassVar[str] = "Kernel-strengthened autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, sections 3.3, 4.5"
    good_for: ClassVar[str] = "what BCAE2 is, with half its filters; no more cost than a plain network"

    network: str = preset(Reconstructor, "network", "bcae2")
    filters: tuple[int, ...] = preset(Reconstructor, "filters", (64, 64, 128, 256, 300))
    conv: str = preset(Reconstructor, "conv", "asymmetric")
