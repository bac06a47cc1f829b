"""A fitted model in service: it answers requests, watches videos and cameras, is corrected where it was wrong, and is
exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import exporting as exporting
    from . import folders as folders
    from . import mqtt as mqtt
    from . import records as records
    from . import teaching as teaching
    from . import versions as versions
    from . import watch_group as watch_group
    from . import watching as watching
    from . import web as web
    from . import webhook as webhook
