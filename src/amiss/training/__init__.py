"""Stages, players and the loop; the only home of the training library. Each file loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import choose as choose
    from . import loop as loop
    from . import record as record
    from . import stage as stage
