"""What runs a scorer: ONNX Runtime with the core alone, torch where it is installed. All give the same scores within
1 % of the interquartile range of the calibration scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import lazy
from ..calibration.maps import within
from ..data.clips import Clips
from ..data.preprocessing import to_float
from ..errors import UsageError

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import onnx_engine as onnx_engine
    from . import torch_engine as torch_engine

#: Largest allowed difference between engines and precisions, as a share of the calibration scores' interquartile range.
TOLERANCE = 0.01
#: Inputs that go through a backbone and its scorer together, at most: more are no faster on a CPU, and take memory.
BEHIND_BACKBONE = 8
#: Values that go through a scorer together.
_VALUES_TOGETHER = 4 << 20
#: What `use_engine` and `--engine` take.
ENGINES = ("auto", "torch", "torch-bfloat16", "onnxruntime")


def check_engine(name: str) -> None:
    """Raises `UsageError` for an engine that does not exist."""
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; there are: {', '.join(ENGINES)}")


@dataclass(frozen=True)
class Output:
    """Of one batch: scores (n,) float32, higher = more anomalous; maps (n, h, w) float32 where the method has any."""

    scores: NDArray[np.float32]
    maps: NDArray[np.float32] | None


class Engine(Protocol):
    """Maps prepared images (n, c, h, w) float32 in [0, 1] to their `Output`; every image is scored alone."""

    @property
    def name(self) -> str:
        """Under which the calibration scores are kept: `torch`, `torch-bfloat16` or `onnxruntime`."""

    def run(self, images: NDArray[np.float32]) -> Output:
        """Score one batch."""


@dataclass(frozen=True)
class EngineWithin:
    """An engine whose maps tell of a region of interest alone: outside of it they have their smallest value inside.

    Attributes:
        engine: scores prepared images, whose outside is filled already.
        inside: (h, w) bool, True where the model looks.
    """

    engine: Engine
    inside: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """That of the engine."""
        return self.engine.name

    def run(self, images: NDArray[np.float32]) -> Output:
        """Score one batch."""
        output = self.engine.run(images)
        return output if output.maps is None else Output(output.scores, within(output.maps, self.inside))


def allowed_difference(calibration: NDArray[np.float32]) -> float:
    """The largest score difference between engines that the contract allows, from the calibration scores."""
    low, high = np.quantile(calibration.astype(np.float64), [0.25, 0.75])
    return TOLERANCE * float(high - low)


def batch_size(shape: tuple[int, ...], patch: tuple[int, int] | None = None) -> int:
    """Inputs scored together: as many as make about four million values, from 1 to 256.

    Args:
        shape: of one input, (c, h, w) or (t, c, h, w).
        patch: size and stride in pixels of the patches it is cut into, whose overlap counts.

    >>> batch_size((3, 256, 256)), batch_size((1, 28, 28)), batch_size((3, 256, 256), (32, 16))
    (21, 256, 5)
    """
    values = int(np.prod(shape))
    if patch is not None:
        values *= max(1, patch[0] // patch[1]) ** 2
    return max(1, min(256, _VALUES_TOGETHER // values))


def run_batches(engine: Engine, inputs: NDArray[Any] | Clips, size: int) -> Output:
    """The outputs of prepared inputs (n, ...), uint8 or float32, `size` at a time."""
    outputs = [engine.run(to_float(inputs[begin : begin + size])) for begin in range(0, len(inputs), size)]
    maps = [output.maps for output in outputs if output.maps is not None]
    return Output(np.concatenate([output.scores for output in outputs]), np.concatenate(maps) if maps else None)
