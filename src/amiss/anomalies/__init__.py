"""Anomalies made out of normal images; each file loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import created as created
    from . import kinds as kinds
    from . import local as local
    from . import motion as motion
    from . import variation as variation
