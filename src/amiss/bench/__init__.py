"""The papers' tables: as data, run cell by cell, and shown beside what the papers print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import cells as cells
    from . import page as page
    from . import protocols as protocols
    from . import results as results
    from . import run as run
    from . import summary as summary
    from . import table as table
