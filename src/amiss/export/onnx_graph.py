"""A scorer as one ONNX graph: `image` (n, c, h, w) in, `score` (n,) and perhaps `map` (n, h, w) out, n free."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnx import TensorProto, compose, helper, version_converter
from torch import Tensor, nn

from ..networks.backbone import Backbone, BackboneScorer


def export_onnx(scorer: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The serialized ONNX model of a scorer.

    Args:
        scorer: in evaluation mode, on the CPU.
        shape: (channels, height, width) of the prepared image, or with the frames of a clip before.
    """
    contiguous: Any = {"memory_format": torch.contiguous_format}
    scorer = scorer.to("cpu", **contiguous).eval()
    image = torch.zeros(2, *shape)
    if not isinstance(scorer, BackboneScorer):
        program = _program(scorer, image, ["image" if image.dim() == 4 else "clip"])
    else:
        backbone = scorer.features.backbone
        levels = backbone(image)
        names = [f"level{number}" for number in range(len(levels))]
        given = [*levels, image] if scorer.sees_image else levels
        head = _program(_Head(scorer), given, [*names, "image"] if scorer.sees_image else names)
        program = _behind(backbone, shape, head, names)
    graph: bytes = program.SerializeToString()
    return graph


class _Head(nn.Module):
    """What comes behind a backbone, as a module of its own: from its feature maps, and the image where it is seen."""

    def __init__(self, scorer: BackboneScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, given: list[Tensor]) -> dict[str, Tensor]:
        levels = given[:-1] if self.scorer.sees_image else given
        return self.scorer.head(levels, given[-1])


def _program(module: nn.Module, example: Tensor | list[Tensor], inputs: list[str]) -> Any:
    """The ONNX model of a module with one argument, `image` or `clip`: a tensor, or a list of them."""
    with torch.no_grad():
        outputs = list(module(example))
    free = {0: torch.export.Dim("n")}
    # the exporter prints its progress and warns of its own deprecations
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _quiet("torch.onnx"),
        _quiet("onnxscript"),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(free if isinstance(example, Tensor) else [free] * len(example),),
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _behind(backbone: Backbone, shape: tuple[int, ...], head: Any, levels: list[str]) -> Any:
    """The backbone's own graph with `head` behind it; gray images become as many channels as it takes."""
    front = onnx.load_from_string(backbone.graph)
    wanted = next(entry.version for entry in head.opset_import if entry.domain == "")
    if next(entry.version for entry in front.opset_import if entry.domain == "") != wanted:
        front = version_converter.convert_version(front, wanted)
    front.ir_version = head.ir_version = max(front.ir_version, head.ir_version)
    front = compose.add_prefix(front, "backbone/")
    joints = [(f"backbone/{name}", level) for name, level in zip(backbone.outputs, levels, strict=True)]
    outputs = [each.name for each in head.graph.output]
    whole = compose.merge_models(front, head, joints, outputs=outputs)
    copies = backbone.channels if shape[0] == 1 else 1
    first = f"backbone/{backbone.input}"
    whole.graph.node.insert(0, helper.make_node("Concat", ["image"] * copies, [first], axis=1))
    del whole.graph.input[:]
    whole.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *shape]))
    onnx.checker.check_model(whole)
    return whole


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
