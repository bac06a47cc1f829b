"""Scoring on ONNX Runtime: all that the core install needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..environment.onnx_session import onnx_session
from ..errors import ModelFileError
from . import Output


class OnnxEngine:
    """Runs an exported scoring graph on ONNX Runtime.

    Args:
        graph: the serialized ONNX model, with input `image` or `clip` and outputs `score` and, where the method has
            one, `map`.

    Raises:
        ModelFileError: ONNX Runtime refuses the graph.
    """

    name = "onnxruntime"

    def __init__(self, graph: bytes) -> None:
        try:
            self._session: Any = onnx_session(graph)
        except Exception as error:  # onnxruntime raises classes of its own that share no base but Exception
            raise ModelFileError(f"the scoring graph cannot be run by ONNX Runtime: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: NDArray[np.float32]) -> Output:
        values = dict(zip(self._outputs, self._session.run(None, {self._input: images}), strict=True))
        return Output(values["score"].astype(np.float32, copy=False), values.get("map"))
