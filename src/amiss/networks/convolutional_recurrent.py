"""Convolutional recurrent models of clips (RAVI 3.7, 4.9): one description of cells, layers and shapes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Filters of the encoder's five layers; the decoder mirrors them (Table 4.12).
FILTERS = (64, 64, 64, 96, 96)

#: Shorter side of the smallest feature map that strided layers leave.
_SMALLEST_MAP = 6

State = tuple[Tensor, ...]


class ConvCell(nn.Module):
    """What the cells share: convolutions of the input, strided or transposed, and of the state, all without biases.

    Shape: a frame (n, before, h, w) and a state to an output (n, after, h', w') and the next state.

    Args:
        before, after: channels of the input and of the state.
        stride: of the input's convolution.
        transposed: does that convolution upsample instead of downsample?
        gates: how many results the input's convolution has, and the state's.
    """

    def __init__(self, before: int, after: int, stride: int, transposed: bool, gates: tuple[int, int]) -> None:
        super().__init__()
        self.after = after
        of_input, of_state = (count * after for count in gates)
        self.of_input: nn.Module
        if transposed:
            self.of_input = nn.ConvTranspose2d(
                before, of_input, 3, stride, padding=1, output_padding=stride - 1, bias=False
            )
        else:
            self.of_input = nn.Conv2d(before, of_input, 3, stride, padding=1, bias=False)
        self.of_state = nn.Conv2d(after, of_state, 3, padding=1, bias=False)

    def start(self, given: Tensor) -> State:
        """The state before the first frame: zeros. `given` is what the input's convolution made of a frame."""
        raise NotImplementedError

    def step(self, given: Tensor, state: State) -> tuple[Tensor, State]:
        """Output and next state, from the convolved input and the state."""
        raise NotImplementedError

    def forward(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        given = self.of_input(frame)
        return self.step(given, self.start(given) if state is None else state)

    def _zeros(self, given: Tensor) -> Tensor:
        return given[:, : self.after] * 0


class ConvRNN(ConvCell):
    """RAVI eq. 3.15: H = tanh(W_xi * X + W_hi * H'), output = sigmoid(W_ho * H)."""

    def __init__(self, before: int, after: int, stride: int, transposed: bool) -> None:
        super().__init__(before, after, stride, transposed, (1, 1))
        self.of_output = nn.Conv2d(after, after, 3, padding=1, bias=False)

    def start(self, given: Tensor) -> State:
        return (self._zeros(given),)

    def step(self, given: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(given + self.of_state(state[0]))
        return torch.sigmoid(self.of_output(hidden)), (hidden,)


class ConvLSTM(ConvCell):
    """RAVI eq. 3.16, with peepholes that weigh the cell state channel by channel; output = H."""

    def __init__(self, before: int, after: int, stride: int, transposed: bool) -> None:
        super().__init__(before, after, stride, transposed, (4, 4))
        #: W_ci, W_cf and W_co.
        self.peepholes = nn.Parameter(torch.zeros(3, after))

    def start(self, given: Tensor) -> State:
        zeros = self._zeros(given)
        return zeros, zeros

    def step(self, given: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, cell = state
        of_input, of_forget, of_cell, of_output = (given + self.of_state(hidden)).chunk(4, dim=1)
        peep_input, peep_forget, peep_output = (each[None, :, None, None] for each in self.peepholes)
        let_in = torch.sigmoid(of_input + peep_input * cell)
        keep = torch.sigmoid(of_forget + peep_forget * cell)
        cell = keep * cell + let_in * torch.tanh(of_cell)
        hidden = torch.sigmoid(of_output + peep_output * cell) * torch.tanh(cell)
        return hidden, (hidden, cell)


class ConvGRU(ConvCell):
    """RAVI eq. 3.17; output = H. The reset gate meets the state behind its convolution, as printed."""

    def __init__(self, before: int, after: int, stride: int, transposed: bool) -> None:
        super().__init__(before, after, stride, transposed, (3, 3))

    def start(self, given: Tensor) -> State:
        return (self._zeros(given),)

    def step(self, given: Tensor, state: State) -> tuple[Tensor, State]:
        update_x, reset_x, new_x = given.chunk(3, dim=1)
        update_h, reset_h, new_h = self.of_state(state[0]).chunk(3, dim=1)
        update, reset = torch.sigmoid(update_x + update_h), torch.sigmoid(reset_x + reset_h)
        new = torch.tanh(reset * new_h + new_x)
        hidden = new * (1 - update) + update * state[0]
        return hidden, (hidden,)


CELLS: dict[str, type[Any]] = {"rnn": ConvRNN, "lstm": ConvLSTM, "gru": ConvGRU}


class Plain(nn.Module):
    """A layer for each frame alone: convolution, batch normalisation, ReLU (LeakyReLU(0.2) where it upsamples).

    Shape: (n, before, h, w) to (n, after, h', w').
    """

    def __init__(self, before: int, after: int, stride: int, transposed: bool, kernel: int = 3) -> None:
        super().__init__()
        if transposed:
            padding = (kernel - stride) // 2 if kernel > 3 else 1
            conv: nn.Module = nn.ConvTranspose2d(
                before, after, kernel, stride, padding, output_padding=0 if kernel > 3 else stride - 1
            )
            self.layers = nn.Sequential(conv, nn.BatchNorm2d(after), nn.LeakyReLU(0.2))
        else:
            self.layers = nn.Sequential(
                nn.Conv2d(before, after, kernel, stride, padding=kernel // 2), nn.BatchNorm2d(after), nn.ReLU()
            )

    def forward(self, frame: Tensor) -> Tensor:
        features: Tensor = self.layers(frame)
        return features


class OverTime(nn.Module):
    """Runs a cell over a clip (n, t, c, h, w); with a second one, that one runs backwards, and both are averaged.

    Shape: (n, t, c, h, w) to (n, t, c', h', w').
    """

    def __init__(self, cell: ConvCell, backward: ConvCell | None = None) -> None:
        super().__init__()
        self.cell, self.backward_cell = cell, backward

    def forward(self, clip: Tensor) -> Tensor:
        outputs = _unrolled(self.cell, clip)
        if self.backward_cell is not None:
            outputs = (outputs + _unrolled(self.backward_cell, clip.flip(1)).flip(1)) / 2
        return outputs


def _unrolled(cell: ConvCell, clip: Tensor) -> Tensor:
    n, length = clip.shape[:2]
    given = cell.of_input(clip.flatten(0, 1))  # of all frames at once; only the states wait for each other
    given = given.view(n, length, *given.shape[1:])
    state = cell.start(given[:, 0])
    outputs = []
    for number in range(length):
        output, state = cell.step(given[:, number], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


class RecurrentModel(nn.Module):
    """Encoder and decoder of five layers each, of which some next to the code are recurrent.

    Args:
        channels: c of the frames.
        cell: None, `rnn`, `lstm` or `gru`.
        shape: `autoencoder` and `bidirectional` reconstruct every frame; `seq2seq` reads the first half of a clip and
            predicts the second: a prediction is encoded again to make the next (so far as the paper tells it).
        recurrent_layers: L_R, 1 to 3, counted from the code; of the decoder, too, where `decoder` is `recurrent`.
        decoder: `recurrent` (Table 4.13's N) or `plain` (its Y).
        filters: five numbers.
        strided: how many of the encoder's layers halve the sides, the first ones; 4 in the thesis, at 128x128.

    Shape: (n, t, c, h, w) in [0, 1] to (n, k, c, h, w), the last k frames: t of them, or half as many for `seq2seq`.

    >>> model = RecurrentModel(1, "gru", "seq2seq", 1, "plain", (4, 4, 4, 6, 6))
    >>> model(torch.zeros(2, 8, 1, 32, 48)).shape
    torch.Size([2, 4, 1, 32, 48])
    """

    def __init__(
        self,
        channels: int,
        cell: str | None,
        shape: str,
        recurrent_layers: int,
        decoder: str,
        filters: tuple[int, ...] = FILTERS,
        strided: int = 4,
    ) -> None:
        super().__init__()
        self._multiple = 2**strided
        self._predicts = shape == "seq2seq"
        count = len(filters)

        def layer(before: int, after: int, stride: int, transposed: bool, recurrent: bool) -> nn.Module:
            if not recurrent or cell is None:
                return Plain(before, after, stride, transposed)
            kind = CELLS[cell]
            backward = kind(before, after, stride, transposed) if shape == "bidirectional" else None
            return OverTime(kind(before, after, stride, transposed), backward)

        self.encoder = nn.ModuleList(
            layer(before, after, 2 if number < strided else 1, False, number >= count - recurrent_layers)
            for number, (before, after) in enumerate(pairwise((channels, *filters)))
        )
        mirrored = filters[::-1]
        self.decoder = nn.ModuleList(
            layer(
                before,
                after,
                2 if number >= count - strided else 1,
                True,
                decoder == "recurrent" and number < recurrent_layers,
            )
            for number, (before, after) in enumerate(pairwise(mirrored))
        )
        # the last one brings the picture back: directly, or by a large kernel and a convolution more
        if self._predicts:
            self.image: nn.Module = nn.Sequential(
                Plain(filters[0], filters[0], 2, True, 6), nn.Conv2d(filters[0], channels, 3, padding=1)
            )
        else:
            self.image = nn.ConvTranspose2d(filters[0], channels, 3, 2, padding=1, output_padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        padded, size = _to_multiple(clip, self._multiple)
        made = self._predicted(padded) if self._predicts else self._reconstructed(padded)
        return made[..., : size[0], : size[1]]

    def _reconstructed(self, clip: Tensor) -> Tensor:
        for layer in (*self.encoder, *self.decoder):
            clip = layer(clip) if isinstance(layer, OverTime) else _framewise(layer, clip)
        return torch.sigmoid(_framewise(self.image, clip))

    def _predicted(self, clip: Tensor) -> Tensor:
        half = clip.shape[1] // 2
        states: dict[int, State] = {}
        code = clip
        for number in range(half):
            code = self._step(self.encoder, clip[:, number], states, 0)
        frames: list[Tensor] = []
        for number in range(clip.shape[1] - half):
            if number:
                code = self._step(self.encoder, frames[-1], states, 0)
            features = self._step(self.decoder, code, states, len(self.encoder))
            frames.append(torch.sigmoid(self.image(features)))
        return torch.stack(frames, dim=1)

    def _step(self, layers: nn.ModuleList, frame: Tensor, states: dict[int, State], first: int) -> Tensor:
        for number, layer in enumerate(layers, start=first):
            if isinstance(layer, OverTime):
                frame, states[number] = layer.cell(frame, states.get(number))
            else:
                frame = layer(frame)
        return frame


def _framewise(layer: nn.Module, clip: Tensor) -> Tensor:
    n, length = clip.shape[:2]
    outputs: Tensor = layer(clip.flatten(0, 1))
    return outputs.view(n, length, *outputs.shape[1:])


def _to_multiple(clip: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """The clip, its right and lower border repeated until the sides are multiples; and its own size."""
    height, width = clip.shape[3:]
    right, down = -width % side, -height % side
    if not (right or down):
        return clip, (height, width)
    n, length = clip.shape[:2]
    padded = functional.pad(clip.flatten(0, 1), (0, right, 0, down), mode="replicate")
    return padded.view(n, length, *padded.shape[1:]), (height, width)


def strided_layers(height: int, width: int) -> int:
    """As many as leave a shorter side of 6, 1 to 4: frames of 96 pixels and more have the thesis's 4.

    >>> strided_layers(128, 128), strided_layers(104, 160), strided_layers(16, 16)
    (4, 4, 1)
    """
    return max(1, min(4, int(math.log2(max(2, min(height, width) / _SMALLEST_MAP)))))


class RecurrentScorer(nn.Module):
    """Scorer: error of the frames that the model makes; `map` averages its square over them and channels.

    Args:
        model: makes frames from clips.
        error: `norm`: the root of each frame's mean squared error (eq. 4.1, by pixel), averaged over the frames;
            `squared`: the mean squared error itself.

    Shape: (n, t, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(self, model: RecurrentModel, error: str = "norm") -> None:
        super().__init__()
        self.model, self.error = model, error

    def errors(self, clip: Tensor) -> Tensor:
        """Clips (n, t, c, h, w) to the errors (n, k, h, w) of the k frames that are made."""
        made = self.model(clip)
        errors: Tensor = (made - clip[:, -made.shape[1] :]).square().mean(dim=2)
        return errors

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        errors = self.errors(clip).float()
        frames = errors.mean(dim=(2, 3))
        return {"score": (frames.sqrt() if self.error == "norm" else frames).mean(dim=1), "map": errors.mean(dim=1)}
