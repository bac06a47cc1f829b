"""Autoencoders from parts: a gate, an encoder, a code, a decoder; any part with any other, for any image size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..objectives.reconstruction import compound, squared_error
from .asymmetric import AsymmetricConv2d, AsymmetricConvTranspose2d
from .attention_convolution import AttentionConv2d, AttentionConvTranspose2d, depths
from .chain import LayerChain
from .codes import Code, make_code
from .gates import SoftAttention, SoftmaxSoftAttention
from .parts import Convolution, Network
from .squeeze_excitation import SqueezeExcitation

Pair = tuple[int, int]
Shape = tuple[int, int, int]

#: From this many pixels on, a side is convolved without padding, as RAVI prints; below, the map would collapse.
_UNPADDED_FROM = 64
#: No strided layer may leave a feature map with a shorter side than this.
_SMALLEST_MAP = 4
#: Transposed convolutions of the ALPS decoder (III-B).
_POOLED_DECODER = 6


@dataclass(frozen=True)
class _Step:
    """One encoder layer along one side of the image: the side's length before it, kernel, stride, padding."""

    length: int
    kernel: int
    stride: int
    padding: int

    @property
    def after(self) -> int:
        return (self.length + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def forgotten(self) -> int:
        """Pixels at the far edge that the strided convolution does not cover; output padding gives them back."""
        return self.length - ((self.after - 1) * self.stride - 2 * self.padding + self.kernel)


@dataclass(frozen=True)
class Layer:
    """One convolution or transposed convolution: channels before and after it, geometry, (h, w) of input and output.

    `innermost` marks the layer next to the code, which stays plain whatever the slots say (RAVI 4.5: the first four
    encoder and the last four decoder layers are strengthened).
    """

    before: int
    after: int
    kernel: Pair
    stride: Pair
    padding: Pair
    output_padding: Pair
    inside: Pair
    outside: Pair
    innermost: bool = False

    def mirrored(self) -> Layer:
        """The transposed layer that leads back."""
        return replace(self, before=self.after, after=self.before, inside=self.outside, outside=self.inside)


@dataclass(frozen=True)
class Plan:
    """The layers of an autoencoder; `code` is the shape (c, h, w) of what lies between its halves.

    A `pooled` code is averaged over its positions; a dense layer leads from it to `start`, where the decoder begins.
    """

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    code: Shape
    start: Shape
    pooled: bool
    #: Does batch normalisation and ReLU follow the last encoder layer too?
    activated_code: bool
    tanh: bool


def _strided(length: int, layers: int, kernel: int, padding: int) -> list[_Step]:
    """`layers` steps of stride 2; a stride that would leave too small a map is dropped."""
    steps: list[_Step] = []
    for _ in range(layers):
        before = steps[-1].after if steps else length
        step = _Step(before, kernel, 2, padding)
        steps.append(step if step.after >= _SMALLEST_MAP else _Step(before, 3, 1, 1))
    return steps


def _side(length: int, layers: int, network: Network) -> list[_Step]:
    if network == "dcgan":
        steps = _strided(length, layers - 1, 4, 1)
        return [*steps, _Step(steps[-1].after if steps else length, steps[-1].after if steps else length, 1, 0)]
    padded = length < _UNPADDED_FROM
    steps = _strided(length, layers - 1, 3, 1 if padded or network == "pooled" else 0)
    last = steps[-1].after if steps else length
    if network == "bcae2":  # an embedding of one position: the kernel is what is left of the map
        return [*steps, _Step(last, last, 1, 0)]
    if network == "pooled" or padded:
        return [*steps, _Step(last, 3, 1, 1)]
    return [*steps, _Step(last, 4, 1, 0)]


def plan(shape: Shape, network: Network, filters: Sequence[int]) -> Plan:
    """The layers for images of `shape`.

    Args:
        shape: (channels, height, width).
        network: `bcae1` and `bcae2` (RAVI 4.4.2, 4.5), `pooled` (ALPS III-B), `dcgan` (ADNL 4.2).
        filters: of the encoder's layers; the last is the length of the code where the code is a vector.
    """
    channels, height, width = shape
    widths = (channels, *filters)
    encoder: list[Layer] = []
    for number, (row, column) in enumerate(
        zip(_side(height, len(filters), network), _side(width, len(filters), network), strict=True)
    ):
        encoder.append(
            Layer(
                widths[number],
                widths[number + 1],
                (row.kernel, column.kernel),
                (row.stride, column.stride),
                (row.padding, column.padding),
                (row.forgotten, column.forgotten),
                (row.length, column.length),
                (row.after, column.after),
                innermost=number == len(filters) - 1,
            )
        )
    end: Shape = (filters[-1], *encoder[-1].outside)
    if network == "pooled":
        start, decoder = _pooled_decoder(shape, filters)
        return Plan(tuple(encoder), decoder, (filters[-1], 1, 1), start, True, False, False)
    mirrored = [layer.mirrored() for layer in encoder]
    vector = network == "dcgan"
    return Plan(tuple(encoder), tuple(reversed(mirrored)), end, end, False, not vector, vector)


def narrowed_code(shape: Shape, network: Network, filters: Sequence[int], compression: float) -> tuple[int, ...]:
    """`filters` with a last one so small that each number of the code stands for `compression` numbers of the image.

    At 128x128 in colour RAVI's 96 and 300 stay, of which 96x4x4 = 1536 numbers stand for 32 each. It is 1 at least, and
    never more than it was; 0 leaves all as they are.

    >>> narrowed_code((3, 128, 128), "bcae1", (64, 64, 64, 96, 96), 32.0)
    (64, 64, 64, 96, 96)
    >>> narrowed_code((1, 28, 28), "bcae1", (64, 64, 64, 96, 96), 32.0)
    (64, 64, 64, 96, 2)
    """
    if not compression:
        return tuple(filters)
    _, height, width = plan(shape, network, filters).code
    widest = max(1, round(math.prod(shape) / (compression * height * width)))
    return (*filters[:-1], min(filters[-1], widest))


def _pooled_decoder(shape: Shape, filters: Sequence[int]) -> tuple[Shape, tuple[Layer, ...]]:
    """A start of about 4x4 positions, then six transposed convolutions, the last ones with stride 2."""
    channels, height, width = shape
    sides = []
    for length in (height, width):
        lengths = [length]
        doublings = min(_POOLED_DECODER, max(0, round(math.log2(length / _SMALLEST_MAP))))
        for layer in range(_POOLED_DECODER):
            lengths.append(math.ceil(lengths[-1] / 2) if layer < doublings else lengths[-1])
        sides.append(list(reversed(lengths)))
    hidden = [filters[max(0, len(filters) - 2 - layer // 2)] for layer in range(_POOLED_DECODER)]
    layers = []
    for layer in range(_POOLED_DECODER):
        strides, paddings = [], []
        for side in sides:
            doubled = side[layer + 1] != side[layer]
            strides.append(2 if doubled else 1)
            paddings.append(side[layer + 1] - (2 * side[layer] - 1) if doubled else 0)
        after = channels if layer == _POOLED_DECODER - 1 else hidden[layer + 1]
        inside, outside = ((sides[0][layer + step], sides[1][layer + step]) for step in (0, 1))
        geometry = ((3, 3), (strides[0], strides[1]), (1, 1), (paddings[0], paddings[1]))
        layers.append(Layer(hidden[layer], after, *geometry, inside, outside))
    return (hidden[0], sides[0][0], sides[1][0]), tuple(layers)


class Rescaled(nn.Module):
    """Tanh, brought from [-1, 1] to the images' [0, 1]; any shape to the same."""

    def forward(self, value: Tensor) -> Tensor:
        return (value.tanh() + 1) / 2


def _encoder(plan: Plan, conv: Convolution, post: str | None) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for layer in plan.encoder:
        kind = "plain" if layer.innermost else conv
        block: list[nn.Module] = [_convolution(layer, kind)]
        if plan.activated_code or not layer.innermost:
            block += [nn.BatchNorm2d(layer.after), nn.ReLU()]
            block += [SqueezeExcitation(layer.after)] if post == "se" else []
        blocks.append(nn.Sequential(*block))
    return nn.Sequential(*blocks, *([nn.AdaptiveAvgPool2d(1)] if plan.pooled else []))


def _decoder(plan: Plan, conv: Convolution, post: str | None) -> nn.Sequential:
    blocks: list[nn.Module] = []
    if plan.pooled:
        dense = nn.Linear(plan.code[0], math.prod(plan.start))
        blocks.append(nn.Sequential(nn.Flatten(), dense, nn.Unflatten(1, plan.start), nn.ReLU()))
    slope = 0.0 if plan.tanh else 0.2
    for number, layer in enumerate(plan.decoder):
        kind = "plain" if layer.innermost else conv
        block: list[nn.Module] = [_transposed(layer, kind)]
        if number == len(plan.decoder) - 1:
            block.append(Rescaled() if plan.tanh else nn.Sigmoid())
        else:
            block += [nn.BatchNorm2d(layer.after), nn.LeakyReLU(slope) if slope else nn.ReLU()]
            block += [SqueezeExcitation(layer.after)] if post == "se" else []
        blocks.append(nn.Sequential(*block))
    return nn.Sequential(*blocks)


def _convolution(layer: Layer, kind: str) -> nn.Module:
    geometry = (layer.before, layer.after, layer.kernel, layer.stride, layer.padding)
    if kind == "asymmetric":
        return AsymmetricConv2d(*geometry)
    if kind == "attention":
        return AttentionConv2d(*geometry, layer.outside, *depths(layer.after), layer.inside)
    return nn.Conv2d(*geometry)


def _transposed(layer: Layer, kind: str) -> nn.Module:
    geometry = (layer.before, layer.after, layer.kernel, layer.stride, layer.padding, layer.output_padding)
    if kind == "asymmetric":
        return AsymmetricConvTranspose2d(*geometry)
    if kind == "attention":
        return AttentionConvTranspose2d(*geometry, layer.outside, *depths(layer.after), layer.inside)
    return nn.ConvTranspose2d(*geometry)


class Autoencoder(nn.Module):
    """Gate, encoder, code and decoder: reconstruct an image through a small code.

    Args:
        shape: (channels, height, width) of the image.
        network: `bcae1`: 3x3 convolutions of stride 2, a last one of stride 1 with a 4x4 kernel (at 128x128 the code
            is 96x4x4 = 1536 numbers, as printed), mirrored with LeakyReLU(0.2), sigmoid; `bcae2`: the same with a last
            kernel as large as the map, so that the code is one vector; `pooled`: convolutions, global average pooling,
            a dense layer and six transposed convolutions (ALPS); `dcgan`: 4x4 convolutions of stride 2, a code of
            one vector without activation, ReLU in both halves, tanh (ADNL). Below 64 pixels a side has padding 1, and a
            stride that would leave a map under four pixels is dropped.
        filters: of the encoder's layers; the last is the code's channels. The decoder has the same in reverse.
        compression: see `narrowed_code`, which makes the last filter smaller.
        conv: `plain`; `asymmetric`: strengthened kernels (eq. 3.4); `attention`: attention-augmented; all but the
            layers next to the code.
        post: None; `se`: squeeze-excitation behind every activation.
        gate: None; `sa`, `ssa`: soft attention on the input (eqs. 3.11, 3.12). The gated image is encoded; the image
            itself is to be reconstructed.
        code: what happens to the code, see `amiss.networks.codes`.
        strength: of noise or distortion in the code.
        items: of the memory.

    Shape: (n, c, h, w) in [0, 1] to the same shape in (0, 1).

    >>> import torch
    >>> network = Autoencoder((3, 128, 128))
    >>> network.encode(torch.zeros(1, 3, 128, 128)).shape
    torch.Size([1, 96, 4, 4])
    """

    def __init__(
        self,
        shape: Shape,
        *,
        network: Network = "bcae1",
        filters: Sequence[int] = (64, 64, 64, 96, 96),
        conv: Convolution = "plain",
        post: str | None = None,
        gate: str | None = None,
        code: str = "plain",
        strength: float = 0.5,
        items: int = 100,
        compression: float = 0.0,
    ) -> None:
        super().__init__()
        layers = plan(shape, network, narrowed_code(shape, network, filters, compression))
        #: Numbers of an image for each number of its code.
        self.compression = math.prod(shape) / math.prod(layers.code)
        #: (channels, height, width) of the code.
        self.code_shape = layers.code
        self.gate: nn.Module = {None: nn.Identity, "sa": SoftAttention, "ssa": SoftmaxSoftAttention}[gate](
            *([shape[0]] if gate is not None else [])
        )
        self.encoder = _encoder(layers, conv, post)
        self.decoder = _decoder(layers, conv, post)
        self.code: Code = make_code(code, layers.code, strength, items, lambda: _encoder(layers, "plain", None))

    def encode(self, image: Tensor) -> Tensor:
        """(n, c, h, w) to the code as the encoder gives it, (n, *code_shape)."""
        code: Tensor = self.encoder(self.gate(image))
        return code

    def forward(self, image: Tensor) -> Tensor:
        return self.reconstruct(image)

    def reconstruct(self, image: Tensor, perturbed: bool = False) -> Tensor:
        """Images (n, c, h, w) reconstructed from their codes, or from the perturbed codes where there are some."""
        gated = self.gate(image)
        code = self.encoder(gated)
        changed = self.code.perturbed(code, gated) if perturbed else self.code(code)
        reconstruction: Tensor = self.decoder(changed)
        return reconstruction

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The normal and the perturbed reconstruction of images (n, c, h, w), each of that shape, of one encoding."""
        gated = self.gate(image)
        code = self.encoder(gated)
        return self.decoder(self.code(code)), self.decoder(self.code.perturbed(code, gated))

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """All weights but those of the code's adversary."""
        adversary = set(map(id, self.code.adversary()))
        return (weight for weight in self.parameters() if id(weight) not in adversary)

    def last_encoder_layer(self) -> nn.Module:
        """The innermost convolution with what follows it; what SVDD regularisation fine-tunes (RAVI 3.6.2)."""
        blocks = [block for block in self.encoder if isinstance(block, nn.Sequential)]
        return blocks[-1]


class ReconstructionScorer(nn.Module):
    """Scorer: error of the reconstruction; `map` (n, h, w) averages over channels, `score` (n,) over pixels too.

    Args:
        network: the autoencoder.
        loss: `mse`, or `mse+ssim` (eq. 3.10 with `eta`), which then is the score as well (RAVI 4.6.1).
        path: `normal`, `perturbed`, or `mean`: the average of both errors, before scaling (ALPS III-D).
        scaled: both are brought to the scale on which held-out normals lie between 0 and 1 (ALPS III-D), unclipped.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(
        self,
        network: Autoencoder,
        loss: str = "mse",
        eta: float = 0.5,
        path: str = "normal",
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss, self.eta, self.path = loss, eta, path
        if scaled:
            self.register_buffer("low", torch.zeros(()))
            self.register_buffer("span", torch.ones(()))
        self.scaled = scaled

    def encode(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) to their codes (n, *code_shape)."""
        return self.network.encode(images)

    def error(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """(n, h, w) float32 errors of reconstructions of images (n, c, h, w), averaged over channels."""
        if self.loss == "mse":
            return squared_error(image, reconstruction)
        return compound(image, reconstruction, self.eta)

    def errors(self, image: Tensor, path: str) -> Tensor:
        """(n, h, w) errors of images (n, c, h, w) along a path, unscaled."""
        if path != "mean":
            return self.error(image, self.network.reconstruct(image, path == "perturbed"))
        normal, perturbed = self.network.both(image)
        return (self.error(image, normal) + self.error(image, perturbed)) / 2

    def set_scale(self, scores: Tensor) -> None:
        """Unscaled scores (n,) of held-out normals become 0 to 1."""
        low, high = scores.min(), scores.max()
        self.get_buffer("low").copy_(low)
        self.get_buffer("span").copy_((high - low).clamp(min=1e-12))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        error = self.errors(image, self.path)
        if self.scaled:
            error = (error - self.get_buffer("low")) / self.get_buffer("span")
        return {"score": error.mean(dim=(1, 2)), "map": error}

    def chain(self) -> LayerChain:
        """Gate, encoder, code and decoder, the squared error behind them, and the scale behind it."""
        if self.loss != "mse":
            raise NotImplementedError(f"the error {self.loss} (loss=mse has one)")
        if self.path != "normal":
            raise NotImplementedError(f"the error of the {self.path} path (score=normal has one)")
        network = self.network
        layers = [network.gate, network.encoder, *network.code.layers, network.decoder]
        return LayerChain(layers, reconstructs=True, behind=self._scale())

    def _scale(self) -> list[nn.Module]:
        """Layers from errors (n,) to scores (n,), where these differ."""
        if not self.scaled:
            return []
        low, span = self.get_buffer("low"), self.get_buffer("span")
        linear = nn.Linear(1, 1)
        with torch.no_grad():
            linear.weight.copy_(1 / span)
            linear.bias.copy_(-low / span)
        return [nn.Unflatten(0, (-1, 1)), linear, nn.Flatten(0)]
