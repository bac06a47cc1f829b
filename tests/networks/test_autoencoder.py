"""The autoencoder's shapes and sizes, as the papers print them, and for any image."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amiss.networks.autoencoder import Autoencoder, ReconstructionScorer, narrowed_code, plan
from amiss.networks.parts import CONVOLUTIONS, GATES, NETWORKS, POSTS

FILTERS = {"bcae1": (8, 8, 8, 12, 12), "bcae2": (8, 8, 8, 12, 10), "pooled": (8, 8, 8, 6), "dcgan": (8, 8, 8, 6)}


def test_bcae1_at_the_printed_size() -> None:
    """RAVI 4.4.2: filters 64, 64, 64, 96, 96, an embedding of 1536."""
    network = Autoencoder((3, 128, 128))
    assert math.prod(network.code_shape) == 1536
    kernels = [part for part in network.encoder.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in kernels] == [64, 64, 64, 96, 96]
    assert [part.stride for part in kernels] == [(2, 2)] * 4 + [(1, 1)]
    mirrored = [part for part in network.decoder.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert [part.out_channels for part in mirrored] == [96, 64, 64, 64, 3]


def test_bcae2_at_the_printed_size() -> None:
    """RAVI 4.5: 64, 128, 256, 512, and an embedding of 300."""
    network = Autoencoder((3, 128, 128), network="bcae2", filters=(64, 128, 256, 512, 300))
    assert network.code_shape == (300, 1, 1)


def test_alps_layers() -> None:
    """ALPS III-B: four convolutions, global average pooling; dense, reshape, six transposed convolutions."""
    network = Autoencoder((1, 28, 28), network="pooled", filters=(32, 64, 128, 64))
    assert sum(isinstance(part, nn.Conv2d) for part in network.encoder.modules()) == 4
    assert isinstance(network.encoder[-1], nn.AdaptiveAvgPool2d)
    assert sum(isinstance(part, nn.ConvTranspose2d) for part in network.decoder.modules()) == 6
    assert sum(isinstance(part, nn.Linear) for part in network.decoder.modules()) == 1
    assert network.code_shape == (64, 1, 1)


@pytest.mark.parametrize("network", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(height=st.integers(8, 140), width=st.integers(8, 140), channels=st.sampled_from([1, 3]))
def test_any_size_comes_back(network: str, height: int, width: int, channels: int) -> None:
    autoencoder = Autoencoder((channels, height, width), network=network, filters=FILTERS[network]).eval()
    with torch.no_grad():
        reconstructed = autoencoder(torch.rand(2, channels, height, width))
    assert reconstructed.shape == (2, channels, height, width)
    assert 0 <= reconstructed.min() <= reconstructed.max() <= 1


@pytest.mark.parametrize(
    ("network", "gate", "conv", "post"), list(itertools.product(NETWORKS, GATES, CONVOLUTIONS, POSTS))
)
def test_every_part_fits_every_network(network: str, gate: str, conv: str, post: str) -> None:
    filters = (16, 16, 8)
    autoencoder = Autoencoder((1, 20, 17), network=network, filters=filters, gate=gate, conv=conv, post=post).eval()
    image = torch.rand(2, 1, 20, 17)
    with torch.no_grad():
        assert autoencoder(image).shape == image.shape
        assert autoencoder.encode(image).shape == (2, *autoencoder.code_shape)


def test_layers_next_to_the_code_stay_plain() -> None:
    """RAVI 4.5: the first four encoder layers and the last four decoder layers are strengthened."""
    network = Autoencoder((3, 128, 128), conv="asymmetric")
    kinds = [type(block[0]).__name__ for block in network.encoder]
    assert kinds == ["AsymmetricConv2d"] * 4 + ["Conv2d"]
    kinds = [type(block[0]).__name__ for block in network.decoder]
    assert kinds == ["ConvTranspose2d"] + ["AsymmetricConvTranspose2d"] * 4


def test_receptive_field_reaches_as_far_as_the_layers_say() -> None:
    """A code position of BCAE1 at 128x128 covers 79 pixels a side: 3x3 at strides 1, 2, 4, 8 and 4x4 at 16."""
    torch.manual_seed(0)
    network = Autoencoder((1, 128, 128)).eval()
    image = torch.rand(1, 1, 128, 128, requires_grad=True)
    network.encode(image)[0, :, 1, 1].sum().backward()
    assert image.grad is not None
    field = image.grad[0, 0].abs().sum(dim=0).nonzero()
    expected = 1 + sum(2 * 2**layer for layer in range(4)) + 3 * 16
    assert expected - 2 <= field.max() - field.min() + 1 <= expected
    layers = plan((1, 128, 128), "bcae1", (64, 64, 64, 96, 96)).encoder
    assert [layer.outside[0] for layer in layers] == [63, 31, 15, 7, 4]


def test_scores_of_every_path() -> None:
    torch.manual_seed(0)
    network = Autoencoder((1, 16, 16), filters=(8, 8), code="distorter")
    image = torch.rand(3, 1, 16, 16)
    scores = {}
    for path in ("normal", "perturbed", "mean"):
        scorer = ReconstructionScorer(network, path=path).eval()
        answer = scorer(image)
        torch.testing.assert_close(answer["map"].mean(dim=(1, 2)), answer["score"])
        scores[path] = answer["score"]
    torch.testing.assert_close((scores["normal"] + scores["perturbed"]) / 2, scores["mean"])
    assert not torch.allclose(scores["normal"], scores["perturbed"])


def test_scaled_scores_of_held_out_normals_lie_between_0_and_1() -> None:
    """ALPS III-D, with minimum and maximum from held-out normals."""
    scorer = ReconstructionScorer(Autoencoder((1, 16, 16), filters=(8, 8)), scaled=True).eval()
    image = torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        scorer.set_scale(scorer.errors(image, "normal").mean(dim=(1, 2)))
        scores = scorer(image)["score"]
    torch.testing.assert_close(scores.min(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.max(), torch.tensor(1.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "network", "filters", "code"),
    [
        ((3, 128, 128), "bcae1", (64, 64, 64, 96, 96), (96, 4, 4)),  # as printed
        ((3, 128, 128), "bcae2", (64, 128, 256, 512, 300), (300, 1, 1)),  # as printed
        ((1, 28, 28), "bcae1", (64, 64, 64, 96, 96), (2, 4, 4)),
        ((1, 64, 64), "bcae1", (64, 64, 64, 96, 96), (8, 4, 4)),
        ((1, 28, 28), "bcae2", (64, 128, 256, 512, 300), (24, 1, 1)),
        ((1, 16, 16), "bcae1", (8, 8), (1, 8, 8)),  # one channel at least
    ],
)
def test_the_code_follows_from_the_size_of_the_image(
    shape: tuple[int, int, int], network: str, filters: tuple[int, ...], code: tuple[int, int, int]
) -> None:
    made = Autoencoder(shape, network=network, filters=filters, compression=32.0)  # type: ignore[arg-type]
    assert made.code_shape == code
    assert made.compression == pytest.approx(math.prod(shape) / math.prod(code))
    assert narrowed_code(shape, network, filters, 0.0) == filters  # type: ignore[arg-type]
