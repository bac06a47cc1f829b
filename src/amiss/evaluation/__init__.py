"""How well a fitted model tells labelled images apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__, {"Evaluation": "evaluate", "evaluate_model": "evaluate"})

if TYPE_CHECKING:  # for type checkers alone
    from . import evaluate as evaluate
    from .evaluate import Evaluation as Evaluation
    from .evaluate import evaluate_model as evaluate_model
