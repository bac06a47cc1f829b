"""A model file from a stranger: refused in one sentence, before anything of it is run or unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from amiss.errors import ModelFileError
from amiss.model.graph_check import check_graph
from amiss.registry import load

HONEST = Path(__file__).parents[1] / "registry" / "files" / "patch_memory.amiss"
GRAPH = "graphs/score.onnx"


def parts() -> dict[str, bytes]:
    with zipfile.ZipFile(HONEST) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, changed: dict[str, bytes], *more: tuple[str, bytes]) -> Path:
    """The honest file with other parts, whose digests fit, and further ones behind."""
    content = parts() | changed
    manifest = json.loads(content["manifest.json"])
    manifest["sha256"] |= {name: hashlib.sha256(value).hexdigest() for name, value in changed.items()}
    content["manifest.json"] = json.dumps(manifest).encode()
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of two parts of one name
        for name, value in (*content.items(), *more):
            archive.writestr(name, value)
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(ModelFileError, match=said) as caught:
        load(path, without_torch=True)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_honest_file_is_read(tmp_path: Path) -> None:
    assert load(write(tmp_path / "m.amiss", {}), without_torch=True).engine.name == "onnxruntime"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.txt", "graphs/../../up.txt", "C:/windows.txt", "a\\..\\b"])
def test_names_that_lead_outside(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    refused(write(folder / "m.amiss", {}, (name, b"x")), "named so as to lie outside")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "er", "m.amiss"]


@pytest.mark.parametrize("name", ["manifest.json", GRAPH])
def test_two_parts_of_one_name(name: str, tmp_path: Path) -> None:
    refused(write(tmp_path / "m.amiss", {}, (name, b"other")), f"holds its part {name} twice")


@pytest.mark.parametrize("name", [GRAPH, "weights.safetensors"])
def test_zip_bombs_take_no_memory(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.amiss", {name: bytes(200 << 20)})
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        refused(path, f"its part {name} claims to unpack to more than 100 times its size")
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_manifest_that_is_too_large(tmp_path: Path) -> None:
    shutil.copy(HONEST, tmp_path / "m.amiss")
    with zipfile.ZipFile(tmp_path / "m.amiss", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(65 << 20))
    refused(tmp_path / "m.amiss", "claims to be larger than 64 MiB")


def test_reference_images_that_are_a_bomb(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, normal=np.zeros((4000, 1, 64, 64), np.uint8))
    refused(write(tmp_path / "m.amiss", {"reference.npz": buffer.getvalue()}), "reference images claim")


# -- graphs ------------------------------------------------------------------------------------------------------------


def graph(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(parts()[GRAPH])
    change(model)
    content: bytes = model.SerializeToString()
    return content


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../secret.bin"), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)


def outside_in_a_constant(model: onnx.ModelProto) -> None:
    value = TensorProto(data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="/etc/hostname")
    inner = helper.make_graph([helper.make_node("Constant", [], ["k"], value=value)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))


def custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.stranger"
    model.opset_import.append(helper.make_opsetid("com.stranger", 1))


def endless(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "c"], ["y"], body=body))


def huge_claim(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20])


def huge_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["huge"]))


def huge_shape_in_a_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["shape"], value_ints=[1 << 20, 1 << 20]))
    model.graph.node.append(helper.make_node("Expand", ["one", "shape"], ["huge"]))


def deep(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(30):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
        inner = helper.make_graph([node], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (outside, "values from a file outside"),
        (outside_in_a_constant, "values from a file outside"),
        (custom, "operators of 'com.stranger'"),
        (endless, "Loop, which may never end"),
        (huge_claim, "claims 1.1e.12 values"),
        (huge_shape, "unfolds to 1.1e.12 values"),
        (huge_shape_in_a_node, "unfolds to 1.1e.12 values"),
        (deep, "too deep"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("part", [GRAPH, "graphs/backbone.onnx"])
def test_graphs_that_do_what_no_model_does(
    change: Callable[[onnx.ModelProto], object], said: str, part: str, tmp_path: Path
) -> None:
    refused(write(tmp_path / "m.amiss", {part: graph(change)}), f"its part {part} is refused: .*{said}")


@pytest.mark.parametrize("content", [b"ORTM", b"\x0f", b"\xff" * 40, b"\x3a\x10abc"])
def test_what_is_no_graph(content: bytes) -> None:
    with pytest.raises(ValueError, match="no ONNX model"):
        check_graph(content)


def test_functions_of_the_model_itself_are_no_foreign_operators() -> None:
    model = onnx.load_from_string(parts()[GRAPH])
    model.opset_import.append(helper.make_opsetid("own", 1))
    inner = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "same", ["a"], ["b"], [inner], model.opset_import[:1]))
    model.graph.node.append(helper.make_node("same", ["score"], ["again"], domain="own"))
    check_graph(model.SerializeToString())
