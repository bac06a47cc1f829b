"""The strided convolutional autoencoder of RAVI 4.4.2 (BCAE1), for any image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: From this many pixels on, a side is convolved without padding, as printed; below, the map would collapse.
_UNPADDED_FROM = 64
#: No strided layer may leave fewer places than this along a side.
_FEWEST_PLACES = 4


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
        """Pixels at the far edge that the strided convolution never sees; output padding gives them back."""
        return self.length - ((self.after - 1) * self.stride - 2 * self.padding + self.kernel)


def _steps(length: int, layers: int) -> list[_Step]:
    padded = length < _UNPADDED_FROM
    steps: list[_Step] = []
    for _ in range(layers - 1):
        step = _Step(steps[-1].after if steps else length, 3, 2, 1 if padded else 0)
        steps.append(step if step.after >= _FEWEST_PLACES else _Step(step.length, 3, 1, 1))
    return [*steps, _Step(steps[-1].after, 3, 1, 1) if padded else _Step(steps[-1].after, 4, 1, 0)]


class Autoencoder(nn.Module):
    """Encoder and mirrored decoder: reconstruct an image through a small code.

    Args:
        shape: (channels, height, width) of the image.
        filters: of the encoder's layers; the decoder has the same in reverse, then the image's channels.

    Four 3x3 convolutions of stride 2, a last one of stride 1 with a 4x4 kernel, batch normalisation and ReLU; mirrored
    transposed convolutions with LeakyReLU(0.2); a sigmoid at the end. At 128x128 the code is 96x4x4 = 1536 numbers, as
    printed. Below 64 pixels a side has padding 1, and a stride that would leave fewer than four places is dropped.

    Shape: (n, c, h, w) in [0, 1] to the same shape in (0, 1).

    >>> import torch
    >>> network = Autoencoder((3, 128, 128))
    >>> network.encoder(torch.zeros(1, 3, 128, 128)).shape
    torch.Size([1, 96, 4, 4])
    """

    def __init__(self, shape: tuple[int, int, int], filters: Sequence[int] = (64, 64, 64, 96, 96)) -> None:
        super().__init__()
        channels, height, width = shape
        widths = (channels, *filters)
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for layer, (row, column) in enumerate(
            zip(_steps(height, len(filters)), _steps(width, len(filters)), strict=True)
        ):
            kernel, stride = (row.kernel, column.kernel), (row.stride, column.stride)
            padding, forgotten = (row.padding, column.padding), (row.forgotten, column.forgotten)
            before, after = widths[layer], widths[layer + 1]
            encoder += [nn.Conv2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after), nn.ReLU()]
            transposed = nn.ConvTranspose2d(after, before, kernel, stride, padding, forgotten)
            ending = [nn.Sigmoid()] if layer == 0 else [nn.BatchNorm2d(before), nn.LeakyReLU(0.2)]
            decoder = [transposed, *ending, *decoder]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.encoder(image))
        return output


class ReconstructionScorer(nn.Module):
    """Scorer: squared error of the reconstruction; `map` (n, h, w) averages over channels, `score` over places too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        error = (self.network(image).to(torch.float32) - image).square().mean(dim=1)
        return {"score": error.mean(dim=(1, 2)), "map": error}
