"""A whole graph in OpenVINO's own form: a file of the network and one of its weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import openvino


def openvino_files(graph: bytes) -> dict[str, bytes]:
    """The contents of `model.xml` and `model.bin`, by name; weights stay in float32.

    The metadata of the graph are found below `amiss` in the model's `rt_info`.

    Args:
        graph: a serialized ONNX model, see `whole_graph`.
    """
    with tempfile.TemporaryDirectory(prefix="amiss-") as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "model.xml"
        source.write_bytes(graph)
        model = openvino.convert_model(source)
        for entry in onnx.load_from_string(graph).metadata_props:
            model.set_rt_info(entry.value, ["amiss", entry.key])
        openvino.save_model(model, target, compress_to_fp16=False)
        return {path.name: path.read_bytes() for path in (target, target.with_suffix(".bin"))}
