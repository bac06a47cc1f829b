"""One graph from pixels to the decision, against what amiss itself makes of the same pixels."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from amiss.calibration import Decision
from amiss.calibration.maps import resized, within
from amiss.data.preprocessing import Preprocessing, to_float
from amiss.data.region_of_interest import RegionOfInterest
from amiss.export.whole_graph import whole_graph

DECISION = Decision(np.float32([0.1, 0.25, 0.25, 0.5, 1e-7]), 0.2)
ROI = RegionOfInterest.of(np.random.default_rng(0).random((7, 11)) > 0.4, fill=77)
SPECS = [
    Preprocessing(colour, height, width, aspect)  # type: ignore[arg-type]
    for colour in ("gray", "rgb")
    for aspect in ("stretch", "keep")
    for height, width in ((16, 24), (33, 20))
] + [Preprocessing("gray", 16, 24, roi=ROI), Preprocessing("rgb", 33, 20, roi=ROI)]


def scorer(spec: Preprocessing, length: int = 1) -> bytes:
    """The mean of the prepared image is the score; its first channel, of the last frame, is the map."""
    channels, height, width = spec.shape
    given = f"clip: [n, {length}," if length > 1 else "image: [n,"
    name, shape = given.split(": ")
    last = "flat = Gather<axis: int = 1>(clip, end)" if length > 1 else "flat = Identity(image)"
    model = parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 18]>
        scorer (float{shape} {channels}, {height}, {width}] {name}) => (float[n] score, float[n, {height}, {width}] map)
        <int64 end = {{{length - 1}}}, int64[3] axes = {{1, 2, 3}}, int64 first = {{0}}>
        {{
            {last}
            score = ReduceMean<keepdims: int = 0>(flat, axes)
            map = Gather<axis: int = 1>(flat, first)
        }}
        """
    )
    content: bytes = model.SerializeToString()
    return content


@functools.cache
def opened(graph: bytes) -> Any:
    """What runs a graph, and gives what the scorer is asked about, too."""
    model = onnx.load_from_string(graph)
    model.graph.output.append(onnx.helper.make_tensor_value_info("prepared", onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(graph: bytes, pixels: np.ndarray, name: str = "image") -> dict[str, Any]:
    """The outputs by name, and `prepared`."""
    session = opened(graph)
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, {name: pixels}), strict=True))


GRAPHS = {spec: whole_graph(scorer(spec), spec, DECISION) for spec in SPECS}


@settings(max_examples=60, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 9),
)
def test_pixels_of_any_size_are_prepared_bit_for_bit(
    spec: Preprocessing, height: int, width: int, channels: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    expected = np.stack([to_float(spec.prepare(each[..., 0] if channels == 1 else each)) for each in pixels])
    found = run(GRAPHS[spec], pixels)
    # Pillow before 13 rounds tall pictures in another order
    allowed = 0.0 if _height_first_is_known() else 1.01 / 255
    np.testing.assert_allclose(found["prepared"], expected, atol=allowed, rtol=0)
    rows, columns = spec.region(height, width)
    for one, image in zip(found["map"], found["prepared"], strict=True):
        expected_map = within(image[:1], spec.inside)[0, rows, columns]
        np.testing.assert_allclose(one, resized(expected_map, height, width), atol=1e-6)


def _height_first_is_known() -> bool:
    import PIL

    return int(PIL.__version__.partition(".")[0]) >= 13


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_fourth_channel_is_left_aside(spec: Preprocessing) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 40, 30, 4), dtype=np.uint8)
    with_alpha, without = (run(GRAPHS[spec], each)["score"] for each in (pixels, pixels[..., :3]))
    np.testing.assert_array_equal(with_alpha, without)


@pytest.mark.parametrize(
    "decision",
    [
        DECISION,
        Decision(np.float32([0.2, 0.4]), 0.01),
        Decision(np.float32([0.1, 0.2, 0.3, 0.4]), 0.5, groups=2, largest=np.float32([0.3, 0.5])),
    ],
)
def test_p_values_and_decisions_are_those_of_the_decision(decision: Decision) -> None:
    spec = SPECS[0]
    levels = np.array([0, 25, 26, 51, 64, 77, 102, 128, 200, 255], np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (len(levels), 16, 24, 1)).copy()
    found = run(whole_graph(scorer(spec), spec, decision), pixels)
    np.testing.assert_allclose(found["p_value"], decision.p_values(found["score"]), rtol=1e-6)
    np.testing.assert_array_equal(found["is_anomaly"], decision.is_anomaly(found["score"]))
    assert found["is_anomaly"].any()
    assert not found["is_anomaly"].all()


def test_a_score_equal_to_the_threshold_is_not_flagged() -> None:
    spec = SPECS[0]
    score = run(GRAPHS[spec], np.full((1, 16, 24, 1), 99, np.uint8))["score"]
    found = run(whole_graph(scorer(spec), spec, Decision(score, 0.4)), np.full((1, 16, 24, 1), 99, np.uint8))
    assert (found["p_value"].tolist(), found["is_anomaly"].tolist()) == ([1.0], [False])


def test_clips_go_in_frame_by_frame() -> None:
    spec = Preprocessing("gray", 16, 24)
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 30, 3), dtype=np.uint8)
    found = run(whole_graph(scorer(spec, 3), spec, DECISION, 3), clips, "clip")
    expected = np.stack([[to_float(spec.prepare(frame)) for frame in clip] for clip in clips])
    np.testing.assert_array_equal(found["prepared"], expected)
    assert found["map"].shape == (2, 40, 30)


def test_facts_become_metadata_and_nothing_is_named_twice() -> None:
    spec = SPECS[0]
    model = onnx.load_from_string(whole_graph(scorer(spec), spec, DECISION, facts={"threshold": "0.5"}))
    assert {entry.key: entry.value for entry in model.metadata_props} == {"threshold": "0.5"}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not model.functions
    names = [name for node in model.graph.node for name in node.output]
    assert len(set(names)) == len(names)


def test_the_operators_are_plain_ones() -> None:
    """What runtimes disagree on, or have not, is not there."""
    for graph in GRAPHS.values():
        operators = {node.op_type for node in onnx.load_from_string(graph).graph.node}
        assert not operators & {"Resize", "If", "Loop", "Scan", "Einsum"}
