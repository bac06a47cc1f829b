"""SE-CAE: an autoencoder with squeeze-excitation (Ravi's thesis, section 3.5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class SECAE(Reconstructor):
    """BCAE1 with squeeze-excitation behind every activation: channels are weighted by what the whole image holds.

    >>> SECAE().get_params()["post"]
    'se'
    """

    title: ClassVar[str] = "Squeeze-excitation autoencoder"
    paper: ClassVar[str] = "Ravi 2021, thesis, sections 3.5.2, 4.7"
    good_for: ClassVar[str] = "where BCAE1 is; under 2.5 % more cost"

    post: str | None = preset(Reconstructor, "post", "se")
