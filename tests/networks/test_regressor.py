"""ADACL's network against the thesis, section 4.3.2."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amiss.networks.regressor import RegressionScorer, Regressor


def test_layers_are_the_papers() -> None:
    kinds = [type(layer) for layer in Regressor(3, 32, 32)]
    assert kinds.count(nn.Conv2d) == 4
    assert kinds.count(nn.Linear) == 2
    assert kinds.index(nn.AdaptiveMaxPool2d) > max(i for i, kind in enumerate(kinds) if kind is nn.Conv2d)
    assert kinds[-2] is nn.Linear  # nothing bounds the answer


@pytest.mark.parametrize("channels", [1, 3])
def test_fewer_than_300_k_parameters(channels: int) -> None:
    assert sum(parameter.numel() for parameter in Regressor(channels, 32, 32).parameters()) < 300_000


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 9), (3, 256, 256), (1, 40, 300)])
def test_any_size_gives_one_number_an_image(shape: tuple[int, int, int]) -> None:
    scorer = RegressionScorer(Regressor(*shape)).eval()
    with torch.no_grad():
        assert scorer(torch.rand(3, *shape))["score"].shape == (3,)
