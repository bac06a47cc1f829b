"""Convolutional recurrent cells and models (RAVI 3.7, Table 4.12)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import correlate2d

from amiss.networks.convolutional_recurrent import CELLS, ConvCell, OverTime, RecurrentModel, RecurrentScorer

Array = NDArray[np.float64]

#: Table 4.12 in millions: plain decoder with L_R = 1, 2, 3, then recurrent decoder.
TABLE = {
    ("rnn", "autoencoder"): (0.60, 0.76, 0.84, 0.76, 1.00, 1.15),
    ("lstm", "autoencoder"): (1.01, 1.51, 1.77, 1.59, 2.40, 2.92),
    ("gru", "autoencoder"): (0.85, 1.20, 1.39, 1.34, 1.96, 2.36),
    ("rnn", "bidirectional"): (0.85, 1.23, 1.42, 1.26, 1.85, 2.22),
    ("lstm", "bidirectional"): (1.67, 2.72, 3.28, 2.92, 4.65, 5.76),
    ("gru", "bidirectional"): (1.34, 2.12, 2.52, 2.42, 3.77, 4.65),
    ("rnn", "seq2seq"): (0.74, 0.91, 0.98, 0.91, 1.15, 1.29),
    ("lstm", "seq2seq"): (1.16, 1.65, 1.91, 1.74, 2.55, 3.06),
    ("gru", "seq2seq"): (0.99, 1.35, 1.53, 1.49, 2.11, 2.51),
}
COUNTS = [
    (cell, shape, layers, decoder, printed[3 * part + layers - 1])
    for (cell, shape), printed in TABLE.items()
    for part, decoder in enumerate(("plain", "recurrent"))
    for layers in (1, 2, 3)
]


@pytest.mark.parametrize(("cell", "shape", "layers", "decoder", "printed"), COUNTS)
def test_table_4_12(cell: str, shape: str, layers: int, decoder: str, printed: float) -> None:
    model = RecurrentModel(3, cell, shape, layers, decoder)
    count = sum(weight.numel() for name, weight in model.named_parameters() if "peepholes" not in name)
    if cell == "gru" and decoder == "recurrent":
        # the printed counts hold one more convolution of each decoder layer's state than eq. 3.17 has
        directions = 2 if shape == "bidirectional" else 1
        count += sum(directions * 9 * width**2 for width in (96, 64, 64)[:layers])
    assert count / 1e6 == pytest.approx(printed, abs=0.01)


def convolved(image: Array, weight: Array, stride: int = 1) -> Array:
    """(i, h, w) with (o, i, 3, 3), by the definition; zeros around the image."""
    sums = [sum(correlate2d(plane, kernel, "same") for plane, kernel in zip(image, of, strict=True)) for of in weight]
    return np.stack(sums)[:, ::stride, ::stride]


def enlarged(image: Array, weight: Array, stride: int) -> Array:
    """(i, h, w) with (i, o, 3, 3), transposed: every position of the input adds the kernel, scaled, around it."""
    _, height, width = image.shape
    out = np.zeros((weight.shape[1], stride * height + 2, stride * width + 2))
    for row in range(height):
        for column in range(width):
            y, x = stride * row, stride * column
            out[:, y : y + 3, x : x + 3] += np.einsum("i,iokl->okl", image[:, row, column], weight)
    return out[:, 1 : 1 + stride * height, 1 : 1 + stride * width]


def sigmoid(value: Array) -> Array:
    return 1 / (1 + np.exp(-value))


def steps_in_numpy(cell: ConvCell, frames: Array, stride: int, transposed: bool) -> list[Array]:
    """Eqs. 3.15 to 3.17, a frame and a gate at a time."""
    weights = {name: value.detach().double().numpy() for name, value in cell.named_parameters()}
    of_input = weights["of_input.weight"]
    n, count = cell.after, of_input.shape[1 if transposed else 0] // cell.after

    def x(frame: Array, gate: int) -> Array:
        part = slice(gate * n, (gate + 1) * n)
        return enlarged(frame, of_input[:, part], stride) if transposed else convolved(frame, of_input[part], stride)

    def h(state: Array, gate: int) -> Array:
        return convolved(state, weights["of_state.weight"][gate * n : (gate + 1) * n])

    hidden = np.zeros_like(x(frames[0], 0))
    memory = np.zeros_like(hidden)
    outputs = []
    for frame in frames:
        if count == 1:
            hidden = np.tanh(x(frame, 0) + h(hidden, 0))
            outputs.append(sigmoid(convolved(hidden, weights["of_output.weight"])))
            continue
        if count == 4:
            peep = weights["peepholes"][:, :, None, None]
            let_in = sigmoid(x(frame, 0) + h(hidden, 0) + peep[0] * memory)
            keep = sigmoid(x(frame, 1) + h(hidden, 1) + peep[1] * memory)
            memory = keep * memory + let_in * np.tanh(x(frame, 2) + h(hidden, 2))
            hidden = sigmoid(x(frame, 3) + h(hidden, 3) + peep[2] * memory) * np.tanh(memory)
        else:
            update, reset = sigmoid(x(frame, 0) + h(hidden, 0)), sigmoid(x(frame, 1) + h(hidden, 1))
            new = np.tanh(reset * h(hidden, 2) + x(frame, 2))
            hidden = new * (1 - update) + update * hidden
        outputs.append(hidden)
    return outputs


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (1, True), (2, True)])
def test_cells_follow_the_equations(name: str, stride: int, transposed: bool) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](2, 3, stride, transposed)
    for weight in cell.parameters():
        torch.nn.init.normal_(weight, 0, 0.5)
    clip = torch.rand(1, 4, 2, 6, 8)
    found = OverTime(cell)(clip)[0].detach().numpy()
    expected = steps_in_numpy(cell, clip[0].double().numpy(), stride, transposed)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


def test_bidirectional_is_the_mean_of_both_directions() -> None:
    torch.manual_seed(0)
    forward, backward = (CELLS["gru"](2, 3, 1, False) for _ in range(2))
    clip = torch.rand(2, 5, 2, 6, 6)
    turned = OverTime(backward)(clip.flip(1)).flip(1)
    torch.testing.assert_close(OverTime(forward, backward)(clip), (OverTime(forward)(clip) + turned) / 2)


@pytest.mark.parametrize("shape", ["autoencoder", "bidirectional", "seq2seq"])
def test_frames_of_any_size(shape: str) -> None:
    model = RecurrentModel(1, "rnn", shape, 2, "recurrent", (4, 4, 4, 6, 6)).eval()
    with torch.no_grad():
        made = model(torch.rand(2, 4, 1, 35, 50))
    assert made.shape == (2, 2 if shape == "seq2seq" else 4, 1, 35, 50)


def test_predictions_depend_on_the_seed_frames_alone() -> None:
    torch.manual_seed(0)
    model = RecurrentModel(1, "lstm", "seq2seq", 1, "recurrent", (4, 4, 4, 6, 6)).eval()
    clip = torch.rand(1, 8, 1, 16, 16)
    other = torch.cat([clip[:, :4], torch.rand(1, 4, 1, 16, 16)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(other))


def test_an_autoencoders_frame_depends_on_no_later_one() -> None:
    torch.manual_seed(0)
    model = RecurrentModel(1, "gru", "autoencoder", 2, "recurrent", (4, 4, 4, 6, 6)).eval()
    clip = torch.rand(1, 4, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(clip)[:, :2], model(clip[:, :2]))


def test_a_clip_scores_by_the_norm_of_each_frame_that_is_made() -> None:
    model = RecurrentModel(1, "gru", "seq2seq", 1, "plain", (2, 2, 2, 2, 2), 1).eval()
    clip = torch.rand(3, 4, 1, 16, 16)
    with torch.no_grad():
        made = model(clip)
        norm, squared = (RecurrentScorer(model, error)(clip) for error in ("norm", "squared"))
    frames = (made - clip[:, -made.shape[1] :]).flatten(2).norm(dim=2) / 16  # of each frame, by the root of its pixels
    torch.testing.assert_close(norm["score"], frames.mean(dim=1))
    torch.testing.assert_close(squared["score"], frames.square().mean(dim=1))
    torch.testing.assert_close(norm["map"], squared["map"])
