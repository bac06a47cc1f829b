"""A scorer whose convolutions compute in whole numbers of eight bits, their ranges taken from images."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization

from ..errors import UsageError
from .whole_graph import with_single_opsets

#: What may follow a convolution in the same eight bits: what runtimes fuse with it, and sums of two such branches.
_ACTIVATIONS, _SUM = ("Clip", "Relu"), "Add"


def quantized(graph: bytes, images: NDArray[np.float32]) -> bytes:
    """The graph with its convolutions in 8 bits: weights by channel, activations by tensor.

    Static, in the form QDQ: a quantizing and a dequantizing node around every convolution, which ONNX Runtime, OpenVINO
    and TensorRT understand. All else, distances to what is normal above all, stays in float32: it is little work, and
    what it tells apart is finer than 256 steps.

    Args:
        graph: a serialized scorer, with the input `image` (n, c, h, w).
        images: (n, c, h, w) prepared normal ones; activations are taken to range as they do on these.

    Raises:
        UsageError: the graph has no convolution.
    """
    model = with_single_opsets(onnx.load_from_string(graph))
    chosen = _chosen(model.graph)
    if not chosen:
        raise UsageError("this model has no convolutions, so 8 bits would make it no faster; leave out --int8")
    with tempfile.TemporaryDirectory(prefix="amiss-") as folder, _quiet():
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            target,
            _Images(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", *_ACTIVATIONS, _SUM],
            nodes_to_quantize=chosen,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return target.read_bytes()


def _chosen(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions with weights, and of what follows them; nodes without a name are given one."""
    weights = {each.name for each in graph.initializer}
    convolved: set[str] = set()
    chosen = []
    for number, node in enumerate(graph.node):  # in the order of computation
        node.name = node.name or f"node {number}"
        first = bool(node.input) and node.input[0] in convolved
        if (
            (node.op_type == "Conv" and node.input[1] in weights)
            or (node.op_type in _ACTIVATIONS and first)
            or (node.op_type == _SUM and first and node.input[1] in convolved)
        ):
            convolved.update(node.output)
            chosen.append(node.name)
    return chosen


class _Images(quantization.CalibrationDataReader):  # type: ignore[misc]  # the library is not typed
    """One image after the other, as the library asks for them."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library logs advice on the root logger that is not meant for who exports."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
