"""What methods derive from: a detector with the conventions of scikit-learn, and the autoencoders among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__, {"Detector": "detector", "Reconstructor": "reconstructor"})

if TYPE_CHECKING:  # for type checkers alone
    from .detector import Detector as Detector
    from .reconstructor import Reconstructor as Reconstructor
