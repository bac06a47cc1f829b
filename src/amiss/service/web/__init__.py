"""A fitted model behind HTTP: a page for people, an API, and the Open Inference Protocol. Needs the extra `serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import app as app
    from . import drift_routes as drift_routes
    from . import drifting as drifting
    from . import feedback as feedback
    from . import history as history
    from . import history_routes as history_routes
    from . import limits as limits
    from . import models as models
    from . import server as server
