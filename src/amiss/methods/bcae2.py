"""BCAE2: the wider baseline of Ravi's thesis, with an embedding of 300 numbers (section 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class BCAE2(Reconstructor):
    """BCAE1 with 64, 128, 256 and 512 filters and an embedding of 300 x 1 x 1.

    The figure that shows its last layer is lost; here its kernel is as large as what is left of the map (7 x 7 at
    128 x 128), which gives the one location that is printed.

    >>> BCAE2().get_params()["filters"]
    (64, 128, 256, 512, 300)
    """

    title: ClassVar[str] = "Wider convolutional autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, section 4.5"
    good_for: ClassVar[str] = "the baseline that KS-CAE is compared with; a tighter code than BCAE1"

    network: str = preset(Reconstructor, "network", "bcae2")
    filters: tuple[int, ...] = preset(Reconstructor, "filters", (64, 128, 256, 512, 300))
