"""What happens to an autoencoder's code between its halves: nothing, noise, an adversary's distortion, a memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .memory import Memory

Shape = tuple[int, int, int]


class Code(nn.Module):
    """The code as it is. `forward` is the normal path, `perturbed` the perturbed one; here they are the same.

    Shape: codes (n, c, h, w) to the same, on every path.
    """

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the normal path in scoring; none where it leaves the code as it is."""
        return []

    def forward(self, code: Tensor) -> Tensor:
        return code

    def perturbed(self, code: Tensor, image: Tensor) -> Tensor:
        """The code as the decoder gets it on the perturbed path; `image` is the encoder's input."""
        changed: Tensor = self(code)
        return changed

    def held(self, code: Tensor, image: Tensor) -> Tensor:
        """The code that the autoencoder's own step learns from."""
        changed: Tensor = self(code)
        return changed

    def adversary(self) -> Iterator[nn.Parameter]:
        """Weights that work against the reconstruction, and are not the autoencoder's own."""
        return iter(())


def _bounded(change: Tensor, code: Tensor, strength: float) -> Tensor:
    """`change` (n, c, h, w), no longer than `strength` times the code of the same image (Euclidean norms)."""
    most = strength * code.detach().flatten(1).norm(dim=1)
    length = change.flatten(1).norm(dim=1)
    factor: Tensor = (most / length.clamp(min=1e-12)).clamp(max=1.0)
    return change * factor[:, None, None, None]


class NoisyCode(Code):
    """Gaussian noise in training, as long as `strength` times the code; a fixed noise on the perturbed path.

    The row "AE with added random noise" of ALPS table III. Noise that was drawn anew at every scoring would give an
    image another score every time, so scoring uses one direction, drawn when the network is built.
    """

    def __init__(self, shape: Shape, strength: float) -> None:
        super().__init__()
        self._strength = strength
        self.register_buffer("direction", torch.randn(1, *shape))

    def forward(self, code: Tensor) -> Tensor:
        return self.held(code, code) if self.training else code

    def held(self, code: Tensor, image: Tensor) -> Tensor:
        """The code for the autoencoder's own step, where layers that stand still as in scoring get noise too."""
        return code + self._scaled(torch.randn_like(code), code)

    def perturbed(self, code: Tensor, image: Tensor) -> Tensor:
        noise = torch.randn_like(code) if self.training else self.get_buffer("direction").expand_as(code)
        return code + self._scaled(noise, code)

    def _scaled(self, noise: Tensor, code: Tensor) -> Tensor:
        length = code.detach().flatten(1).norm(dim=1) / math.sqrt(code[0].numel())
        scaled: Tensor = self._strength * length[:, None, None, None] * noise
        return scaled


class DistortedCode(Code):
    """The adversarial distorter of ALPS (III-B): an encoder of its own adds a perturbation to the code.

    The paper leaves the perturbation unbounded and calls the method sensitive to its strength (thesis, section 5.3).
    Here it is no longer than `strength` times the image's code, so that neither side can win by growing.
    """

    def __init__(self, encoder: nn.Module, strength: float) -> None:
        super().__init__()
        self.distorter = encoder
        self._strength = strength

    def perturbed(self, code: Tensor, image: Tensor) -> Tensor:
        change: Tensor = self.distorter(image)
        return code + _bounded(change, code, self._strength)

    def held(self, code: Tensor, image: Tensor) -> Tensor:
        """The perturbed code for the autoencoder's own step: no gradient reaches the distorter."""
        with torch.no_grad():
            change = _bounded(self.distorter(image), code, self._strength)
        return code + change

    def adversary(self) -> Iterator[nn.Parameter]:
        return self.distorter.parameters()


class MemorisedCode(Code):
    """The code at every position is replaced by a mixture of the memory items nearest to it (MemAE)."""

    def __init__(self, items: int, channels: int) -> None:
        super().__init__()
        self.memory = Memory(items, channels)

    @property
    def layers(self) -> list[nn.Module]:
        return [self.memory]

    def forward(self, code: Tensor) -> Tensor:
        retrieved: Tensor = self.memory(code)
        return retrieved


def make_code(kind: str, shape: Shape, strength: float, items: int, encoder: Callable[[], nn.Module]) -> Code:
    """The code module of a kind of `parts.CODES`; `encoder` builds one like the autoencoder's for a distorter."""
    if kind == "noise":
        return NoisyCode(shape, strength)
    if kind == "distorter":
        return DistortedCode(encoder(), strength)
    if kind == "memory":
        return MemorisedCode(items, shape[0])
    return Code()
