"""The fitted model: what has been learnt, complete and frozen; how it scores, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__, {"FittedModel": "fitted", "Scores": "fitted", "Row": "scoring"})

if TYPE_CHECKING:  # for type checkers alone
    from .fitted import FittedModel as FittedModel
    from .fitted import Scores as Scores
    from .scoring import Row as Row
