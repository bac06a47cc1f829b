"""BCAE1: the baseline convolutional autoencoder of Ravi's thesis (section 4.4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor


@dataclass(kw_only=True, eq=False)
class BCAE1(Reconstructor):
    """A plain autoencoder: every slot at its default.

    Score: mean squared error over the image; map: over the channels of each pixel.

    >>> BCAE1().get_params()["epochs"]
    300
    """

    title: ClassVar[str] = "Baseline convolutional autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, section 4.4.2"
    good_for: ClassVar[str] = "a baseline with a map: large changes of shape or brightness"
