"""How graphs are run on this machine."""

from __future__ import annotations

from typing import Any

import onnxruntime

from .machine import cpu_count


def onnx_session(graph: bytes) -> Any:
    """A session of ONNX Runtime for a serialized graph, on all processors that may be used.

    Its threads do not spin while they wait: they would take the processors from those that decode the next images, and
    from other requests.

    Raises:
        Exception: the graph cannot be run; ONNX Runtime's classes share no other base.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_count()
    options.log_severity_level = 3
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
