"""Attention-augmented convolutions against attention written out with loops."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch

from amiss.export.onnx_graph import export_onnx
from amiss.networks.attention_convolution import Attention2d, AttentionConv2d, AttentionConvTranspose2d, depths
from amiss.networks.autoencoder import Autoencoder


def test_attention_equals_loops() -> None:
    torch.manual_seed(0)
    rows, columns, heads, keys, values = 2, 3, 2, 4, 6
    attention = Attention2d(5, keys, values, heads, (rows, columns), (rows, columns)).eval()
    features = torch.randn(1, 5, rows, columns)
    with torch.no_grad():
        projected = attention.projection(features)[0].numpy()
        found = attention(features)[0].numpy()
        mixing = attention.mixing.weight[:, :, 0, 0].numpy(), attention.mixing.bias.numpy()
        row_offsets = attention.get_parameter("row_offsets").numpy()
        column_offsets = attention.get_parameter("column_offsets").numpy()
    q, k, v = projected[:keys], projected[keys : 2 * keys], projected[2 * keys :]
    dk, dv = keys // heads, values // heads
    attended = np.zeros((values, rows, columns))
    positions = [(row, column) for row in range(rows) for column in range(columns)]
    for head in range(heads):
        mine, shown = slice(head * dk, (head + 1) * dk), slice(head * dv, (head + 1) * dv)
        for row, column in positions:
            query = q[mine, row, column] / math.sqrt(dk)
            logits = np.array(
                [
                    query @ k[mine, r, c]
                    + query @ row_offsets[r - row + rows - 1]
                    + query @ column_offsets[c - column + columns - 1]
                    for r, c in positions
                ]
            )
            weights = np.exp(logits - logits.max())
            weights /= weights.sum()
            attended[shown, row, column] = sum(w * v[shown, r, c] for w, (r, c) in zip(weights, positions, strict=True))
    expected = np.einsum("oi,irc->orc", mixing[0], attended) + mixing[1][:, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_shifted_query_gets_shifted_offsets() -> None:
    """Queries that are alike everywhere: a logit then depends on the offset between two positions alone."""
    torch.manual_seed(0)
    rows, columns = 5, 4
    attention = Attention2d(3, 6, 6, 2, (rows, columns), (rows, columns))
    queries = torch.randn(1, 2, 1, 3).expand(1, 2, rows * columns, 3)
    logits = attention._relative(queries).reshape(2, rows, columns, rows, columns)
    torch.testing.assert_close(logits[:, 1:, :, 1:, :], logits[:, :-1, :, :-1, :])
    torch.testing.assert_close(logits[:, :, 1:, :, 1:], logits[:, :, :-1, :, :-1])
    assert not torch.allclose(logits[:, 0, 0, 0, 0], logits[:, 0, 0, 1, 0])
    assert not torch.allclose(logits[:, 0, 0, 1, 0], logits[:, 1, 0, 0, 0])  # above is not below


def test_every_image_attends_to_itself_alone() -> None:
    torch.manual_seed(0)
    layer = AttentionConv2d(3, 32, (3, 3), (2, 2), (0, 0), (8, 16), *depths(32), (17, 33)).eval()
    features = torch.rand(4, 3, 17, 33)
    with torch.no_grad():
        together = layer(features)
        torch.testing.assert_close(together, torch.cat([layer(image[None]) for image in features]))
        torch.testing.assert_close(together, layer(features.contiguous(memory_format=torch.channels_last)))


def test_far_positions_reach_each_other_through_attention_alone() -> None:
    torch.manual_seed(0)
    layer = AttentionConv2d(1, 32, (3, 3), (1, 1), (1, 1), (21, 13), *depths(32), (21, 13)).eval()
    features = torch.rand(1, 1, 21, 13)
    changed = features.clone()
    changed[..., -1, -1] += 1
    with torch.no_grad():
        difference = (layer(changed) - layer(features))[0, :, 0, 0].abs()
    convolved = 32 - depths(32)[1]
    assert difference[:convolved].max() == 0
    assert difference[convolved:].min() > 0


def test_parameters_of_a_layer() -> None:
    keys, values, heads = depths(64)
    layer = AttentionConv2d(16, 64, (3, 3), (2, 2), (1, 1), (4, 3), keys, values, heads, (7, 6))
    convolution = (64 - values) * (16 * 9 + 1)
    projections = (2 * keys + values) * (16 + 1) + values * (values + 1)
    offsets = (2 * 7 - 1 + 2 * 6 - 1) * keys // heads
    assert sum(weight.numel() for weight in layer.parameters()) == convolution + projections + offsets
    plain = AttentionConv2d(16, 3, (3, 3), (2, 2), (1, 1), (4, 3), *depths(3), (7, 6))
    assert sum(weight.numel() for weight in plain.parameters()) == 3 * (16 * 9 + 1)


def test_weights_sum_to_one_on_a_bounded_grid() -> None:
    attention = Attention2d(4, 8, 8, 4, (50, 33), (25, 17))
    weights = attention.weights(torch.rand(2, 4, 50, 33))
    assert max(attention.grid) <= 8
    positions = attention.grid[0] * attention.grid[1]
    assert weights.shape == (2, 4, positions, positions)
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(2, 4, positions))
    assert attention(torch.rand(2, 4, 50, 33)).shape == (2, 8, 25, 17)


@pytest.mark.parametrize("channels", [1, 3, 8, 15, 16, 32, 64, 96, 300])
def test_depths_divide_into_heads(channels: int) -> None:
    keys, values, heads = depths(channels)
    assert keys % heads == values % heads == 0
    assert values < channels
    assert (values == 0) == (channels < 16)


def test_layers_have_the_output_size_they_promise() -> None:
    down = AttentionConv2d(3, 32, (3, 3), (2, 2), (1, 1), (9, 10), *depths(32), (17, 20))
    assert down(torch.rand(2, 3, 17, 20)).shape == (2, 32, 9, 10)
    up = AttentionConvTranspose2d(32, 16, (3, 3), (2, 2), (1, 1), (0, 1), (17, 20), *depths(16), (9, 10))
    assert up(torch.rand(2, 32, 9, 10)).shape == (2, 16, 17, 20)


def test_exports_with_any_number_of_images() -> None:
    """Blocks do not divide the sides, so those at the edge are smaller, and no factor resizes them."""

    class Scorer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = AttentionConv2d(3, 16, (3, 3), (2, 2), (1, 1), (9, 10), *depths(16), (17, 20))
            geometry = ((3, 3), (2, 2), (1, 1), (0, 1))
            self.up = AttentionConvTranspose2d(16, 16, *geometry, (17, 20), *depths(16), (9, 10))

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            features = self.up(self.down(image))
            return {"score": features.mean(dim=(1, 2, 3)), "map": features.square().mean(dim=1)}

    torch.manual_seed(0)
    scorer = Scorer().eval()
    session = onnxruntime.InferenceSession(export_onnx(scorer, (3, 17, 20)))
    for count in (1, 3):
        image = torch.rand(count, 3, 17, 20)
        (found,) = session.run(["map"], {"image": image.numpy()})
        np.testing.assert_allclose(found, scorer(image)["map"].detach().numpy(), atol=1e-5)


def test_cost_beside_a_plain_network() -> None:
    """RAVI prints 15 % more "with lowest settings"; with convolutions thinned as Bello et al. do, fewer."""
    plain, attentive = (
        sum(weight.numel() for weight in Autoencoder((3, 128, 128), conv=conv).parameters())
        for conv in ("plain", "attention")
    )
    assert attentive / plain == pytest.approx(1 - 0.037, abs=0.001)
