"""A fitted model in service: it is exported, watches videos and cameras, and is corrected where it was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import exporting as exporting
    from . import teaching as teaching
    from . import watching as watching
