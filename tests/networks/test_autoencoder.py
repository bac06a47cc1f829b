"""BCAE1's network against RAVI 4.4.2."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amiss.networks.autoencoder import Autoencoder, ReconstructionScorer


def test_printed_architecture_at_128() -> None:
    network = Autoencoder((3, 128, 128)).eval()
    convolutions = [layer for layer in network.encoder if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 64, 64, 96, 96]
    assert [layer.stride[0] for layer in convolutions] == [2, 2, 2, 2, 1]
    assert [layer.kernel_size[0] for layer in convolutions] == [3, 3, 3, 3, 4]
    transposed = [layer for layer in network.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in transposed] == [96, 64, 64, 64, 3]
    leaks = [layer.negative_slope for layer in network.decoder if isinstance(layer, nn.LeakyReLU)]
    assert leaks == [0.2] * 4
    assert isinstance(network.decoder[-1], nn.Sigmoid)
    assert network.encoder(torch.rand(1, 3, 128, 128)).flatten(1).shape == (1, 1536)


@pytest.mark.parametrize("side", [28, 32, 64, 256])
def test_the_code_never_collapses(side: int) -> None:
    code = Autoencoder((1, side, side)).encoder.eval()(torch.rand(1, 1, side, side))
    assert min(code.shape[2:]) >= 4


@settings(max_examples=25, deadline=None)
@given(height=st.integers(8, 150), width=st.integers(8, 150), channels=st.sampled_from([1, 3]))
def test_any_size_is_reconstructed_at_its_own_size(height: int, width: int, channels: int) -> None:
    shape = (channels, height, width)
    image = torch.rand(2, *shape)
    scorer = ReconstructionScorer(Autoencoder(shape, filters=(4, 4, 4, 4, 4))).eval()
    with torch.no_grad():
        output = scorer(image)
        expected = (scorer.network(image) - image).numpy() ** 2
    assert output["map"].shape == (2, height, width)
    torch.testing.assert_close(output["map"], torch.from_numpy(expected.mean(axis=1)))
    torch.testing.assert_close(output["score"], torch.from_numpy(expected.mean(axis=(1, 2, 3))))
