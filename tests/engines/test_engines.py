"""Engines and the choice of precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import amiss
from amiss.engines import allowed_difference
from amiss.engines.onnx_engine import OnnxEngine
from amiss.engines.torch_engine import TorchEngine, choose_precision
from amiss.errors import ModelFileError
from amiss.testing import fitted


class Sum(nn.Module):
    """A scorer whose bfloat16 differs from float32 by what the weight decides."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.layer.weight, weight)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"score": self.layer(image).float().mean(dim=(1, 2, 3))}


def test_bfloat16_is_refused_where_it_changes_scores() -> None:
    images = np.random.default_rng(0).random((16, 1, 8, 8), dtype=np.float32)
    exact = TorchEngine(Sum(1 / 3)).run(images).scores
    half = TorchEngine(Sum(1 / 3), "bfloat16").run(images).scores
    assert np.abs(exact - half).max() > allowed_difference(exact)
    assert choose_precision(Sum(1 / 3), images, exact) == "float32"


def test_names() -> None:
    assert TorchEngine(Sum(1.0)).name == "torch"
    assert TorchEngine(Sum(1.0), "bfloat16").name == "torch-bfloat16"


def test_a_broken_graph_is_explained() -> None:
    with pytest.raises(ModelFileError, match="ONNX Runtime"):
        OnnxEngine(b"no graph")


def test_channels_last_changes_nothing() -> None:
    detector = fitted(amiss.BCAE1)
    scorer = detector.build(detector.preprocessing_.shape).eval()
    images = np.random.default_rng(0).random((4, 1, 16, 16), dtype=np.float32)
    with torch.no_grad():
        plain = scorer(torch.from_numpy(images))
    output = TorchEngine(scorer).run(images)
    np.testing.assert_allclose(output.scores, plain["score"].numpy(), rtol=1e-5)
    assert output.maps is not None
    np.testing.assert_allclose(output.maps, plain["map"].numpy(), atol=1e-5)
