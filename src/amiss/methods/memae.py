"""MemAE: an autoencoder with a memory of normal codes (Gong et al. 2019), a baseline of ALPS table II."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class MemAE(Reconstructor):
    """Every location of the code is replaced by what a learnt memory of normal codes holds nearest to it.

    Three small layers and 100 items, as the authors use for MNIST; kernels and strides are those of BCAE1. The code is
    as wide as its filters: what holds anomalies back is the memory.

    >>> MemAE().get_params()["code"]
    'memory'
    """

    title: ClassVar[str] = "Memory-augmented autoencoder"
    paper: ClassVar[str] = "Gong et al. 2019; in Khazaie 2022, table II"
    good_for: ClassVar[str] = "where plain autoencoders paint anomalies too well"

    filters: tuple[int, ...] = preset(Reconstructor, "filters", (16, 32, 64))
    compression: float = preset(Reconstructor, "compression", 0.0)
    code: str = preset(Reconstructor, "code", "memory")
