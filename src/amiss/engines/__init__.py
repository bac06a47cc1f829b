"""What runs a scorer: ONNX Runtime with the core alone, torch where it is installed. All give the same scores within
1 % of the interquartile range of the calibration scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

#: Largest allowed difference between engines and precisions, as a share of the calibration scores' interquartile range.
TOLERANCE = 0.01


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


def allowed_difference(calibration: NDArray[np.float32]) -> float:
    """The largest score difference between engines that the contract allows, from the calibration scores."""
    low, high = np.quantile(calibration.astype(np.float64), [0.25, 0.75])
    return TOLERANCE * float(high - low)
