"""Scorers as graphs for other runtimes; each file loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import int8 as int8
    from . import onnx_graph as onnx_graph
    from . import openvino_files as openvino_files
    from . import page as page
    from . import whole_graph as whole_graph
