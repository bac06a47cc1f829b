"""Squeeze-excitation treats every image alone and exports; its values and cost are held in test_parts.py."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amiss.export.onnx_graph import export_onnx
from amiss.networks.squeeze_excitation import SqueezeExcitation


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(1, 16, 4), (64, 16, 4), (96, 16, 6), (64, 4, 16)])
def test_hidden_units(channels: int, reduction: int, hidden: int) -> None:
    block = SqueezeExcitation(channels, reduction)
    expected = 2 * channels * hidden + hidden + channels
    assert sum(weight.numel() for weight in block.parameters()) == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), channels=st.integers(1, 20), height=st.integers(1, 9), width=st.integers(1, 9))
def test_scales_whole_channels_of_every_image_alone(seed: int, channels: int, height: int, width: int) -> None:
    torch.manual_seed(seed)
    block = SqueezeExcitation(channels)
    features = torch.rand(3, channels, height, width) + 0.5
    with torch.no_grad():
        scaled = block(features)
        torch.testing.assert_close(scaled[1:2], block(features[1:2]))
        moved = features.flatten(2)[:, :, torch.randperm(height * width)].reshape(features.shape)
        torch.testing.assert_close((block(moved) / moved)[:, :, 0, 0], (scaled / features)[:, :, 0, 0])
    weights = (scaled / features).flatten(2)
    torch.testing.assert_close(weights, weights[:, :, :1].expand_as(weights))
    assert ((weights > 0) & (weights < 1)).all()


class _Scorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = SqueezeExcitation(3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": self.block(image).mean(dim=(1, 2, 3))}


def test_exports_with_any_number_of_images() -> None:
    torch.manual_seed(0)
    scorer = _Scorer().eval()
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 9, 6)))
    for count in (1, 3):
        image = torch.rand(count, 3, 9, 6)
        (found,) = session.run(["score"], {"image": image.numpy()})
        np.testing.assert_allclose(found, scorer(image)["score"].detach().numpy(), atol=1e-6)
