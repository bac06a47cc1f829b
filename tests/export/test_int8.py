"""Convolutions in 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from amiss.engines.onnx_engine import OnnxEngine
from amiss.errors import UsageError
from amiss.export.int8 import quantized
from amiss.testing.common import small_backbone


def small_scorer() -> bytes:
    """The mean over two convolutions, each with its activation."""
    model = onnx.load_from_string(small_backbone())
    axes = onnx.numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    model.opset_import[0].version = 18
    model.graph.initializer.append(axes)
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["quarter", "axes"], ["score"], keepdims=0))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["n"]))
    content: bytes = model.SerializeToString()
    return content


def test_scores_stay_near_and_weights_are_small_numbers() -> None:
    images = np.random.default_rng(0).random((12, 3, 16, 16), dtype=np.float32)
    graph = quantized(small_scorer(), images)
    before, after = (OnnxEngine(each).run(images).scores for each in (small_scorer(), graph))
    assert 0 < np.abs(after - before).max() < 0.005 * np.abs(before).max()
    kinds = {
        each.data_type for each in onnx.load_from_string(graph).graph.initializer if "weight_quantized" in each.name
    }
    assert kinds == {onnx.TensorProto.INT8}


def test_a_graph_without_convolutions_is_refused() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[n, 1, 4, 4] image) => (float[n] score) '
        "<int64[3] axes = {1, 2, 3}> { score = ReduceMean<keepdims: int = 0>(image, axes) }"
    )
    with pytest.raises(UsageError, match="no convolutions"):
        quantized(model.SerializeToString(), np.zeros((1, 1, 4, 4), np.float32))
