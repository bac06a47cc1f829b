"""Backbones of the user's, against torch, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from amiss.engines.onnx_engine import OnnxEngine
from amiss.errors import UsageError
from amiss.export.onnx_graph import export_onnx
from amiss.networks.backbone import Backbone, BackboneScorer, Features
from amiss.testing.common import small_backbone


def graph(inputs: list[tuple[list[object], int]], outputs: list[list[object]]) -> bytes:
    """A graph that copies its first input to every output."""
    given = [helper.make_tensor_value_info(f"in{i}", kind, shape) for i, (shape, kind) in enumerate(inputs)]
    made = [helper.make_tensor_value_info(f"out{i}", inputs[0][1], shape) for i, shape in enumerate(outputs)]
    nodes = [helper.make_node("Identity", ["in0"], [each.name]) for each in made]
    model = helper.make_model(
        helper.make_graph(nodes, "copy", given, made), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return bytes(model.SerializeToString())


def test_feature_maps_are_those_of_torch_and_gray_images_become_colour() -> None:
    content = small_backbone()
    weights = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(content).graph.initializer}
    half_weight, quarter_weight = (torch.from_numpy(weights[f"{name}/weight"].copy()) for name in ("half", "quarter"))
    images = torch.rand(3, 3, 22, 30)

    def convolved(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(values, weight, stride=2, padding=1).relu()

    half, quarter = Backbone(content)(images)
    np.testing.assert_allclose(half, convolved(images, half_weight), atol=1e-5)
    np.testing.assert_allclose(quarter, convolved(convolved(images, half_weight), quarter_weight), atol=1e-5)
    gray = Backbone(content)(images[:, :1])[0]
    np.testing.assert_allclose(gray, convolved(images[:, :1].expand(-1, 3, -1, -1), half_weight), atol=1e-5)


def test_levels_meet_on_the_finest_grid_and_normal_images_lie_between_0_and_1() -> None:
    features = Features(Backbone(small_backbone()), (1, 24, 20))
    assert features.shape == (14, 12, 10)
    images = torch.rand(40, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    features.fit_scale(images.split(16))
    scaled = features(images)
    assert scaled.shape == (40, 14, 12, 10)
    inside = ((scaled >= 0) & (scaled <= 1)).float().mean(dim=(0, 2, 3))
    assert inside.min() > 0.99
    dead = (scaled == 0).all(dim=0).all(dim=1).all(dim=1)  # a rectified channel that never answers
    assert (scaled.amax(dim=(0, 2, 3))[~dead] > 0.5).all()
    assert dead.sum() <= 1


def test_sizes_that_suit() -> None:
    anything = Backbone(graph([(["n", 3, "h", "w"], TensorProto.FLOAT)], [["n", 3, "h", "w"]]))
    assert anything.suitable(130, 20) == (128, 64)
    fixed = Backbone(graph([(["n", 1, 48, 56], TensorProto.FLOAT)], [["n", 1, 48, 56]]))
    assert fixed.suitable(130, 20) == (48, 56)
    assert fixed.channels == 1
    with pytest.raises(UsageError, match="1 x 20 x 20; try size=48x56"):
        fixed(torch.zeros(1, 1, 20, 20))


def test_outputs_that_are_no_maps_are_left_aside() -> None:
    assert Backbone(graph([(["n", 3, "h", "w"], TensorProto.FLOAT)], [["n", 3, "h", "w"], ["n", 5]])).outputs == [
        "out0"
    ]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"no graph", "no ONNX graph"),
        (graph([(["n", 3, "h", "w"], TensorProto.FLOAT)], [["n", 10]]), "no feature maps"),
        (graph([(["n", 10], TensorProto.FLOAT)], [["n", 10]]), "one input"),
        (
            graph([(["n", 3, "h", "w"], TensorProto.FLOAT), (["n"], TensorProto.FLOAT)], [["n", 3, "h", "w"]]),
            "one input",
        ),
        (graph([(["n", 3, "h", "w"], TensorProto.UINT8)], [["n", 3, "h", "w"]]), "float32"),
    ],
)
def test_what_is_no_backbone_is_named(content: bytes, word: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=word) as found:
        Backbone.read(str(file))
    assert "mine.onnx" in str(found.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"features=no/such\.onnx"):
        Backbone.read("no/such.onnx")


class Student(torch.nn.Module):
    """A head that sees the image beside its features: how far a student is from its teacher."""

    sees_image = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.student = torch.nn.Conv2d(3, channels, 3, stride=2, padding=1)

    def forward(self, features: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        distances = (self.student(image) - features).square().mean(dim=1)
        return {"score": distances.amax(dim=(1, 2)), "map": distances}


def test_a_head_may_see_the_image_too_and_is_exported_with_it() -> None:
    features = Features(Backbone(small_backbone()), (3, 24, 20))
    scorer = BackboneScorer(features, Student(14), (24, 20)).eval()
    images = torch.rand(3, 3, 24, 20)
    with torch.no_grad():
        expected = scorer(images)
    assert expected["map"].shape == (3, 24, 20)
    found = OnnxEngine(export_onnx(scorer, (3, 24, 20))).run(images.numpy())
    np.testing.assert_allclose(found.scores, expected["score"], rtol=1e-4)
    np.testing.assert_allclose(found.maps, expected["map"], rtol=1e-3, atol=1e-4)
