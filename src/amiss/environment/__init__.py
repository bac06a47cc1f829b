"""The machine and what is installed on it, and how files are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import files as files
    from . import machine as machine
    from . import onnx_session as onnx_session
    from . import outputs as outputs
    from . import versions as versions
