"""Scoring on torch, in the fastest precision that keeps the scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..environment.machine import keep_freed_memory
from ..networks.backbone import BackboneScorer
from ..training.choose import training_device
from . import Output, allowed_difference

#: bfloat16 must be at least so much faster to be chosen; a smaller gain is lost in the noise of a short trial.
_WORTH = 1.15


class TorchEngine:
    """Runs a scorer on torch, channels last, in float32 or bfloat16.

    Args:
        scorer: maps `image` (n, c, h, w) to a dictionary with `score` and perhaps `map`.
        precision: `float32` or `bfloat16`.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    def __init__(self, scorer: nn.Module, precision: str = "float32", device: str = "auto") -> None:
        keep_freed_memory()
        self._device = torch.device(training_device(device))
        layout: Any = {"memory_format": torch.channels_last}
        self._scorer = scorer.to(self._device, **layout).eval()
        self._half = precision == "bfloat16"
        self.name = "torch-bfloat16" if self._half else "torch"

    def run(self, images: NDArray[np.float32]) -> Output:
        batch = torch.from_numpy(images).to(self._device)
        if batch.dim() == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            values = self._scorer(batch)
        maps = values.get("map")
        scores: NDArray[np.float32] = values["score"].float().cpu().numpy()
        return Output(scores, None if maps is None else maps.float().cpu().numpy())


def choose_precision(
    scorer: nn.Module, images: NDArray[np.float32], calibration: NDArray[np.float32], device: str = "auto"
) -> Literal["float32", "bfloat16"]:
    """`bfloat16` where a trial on `images` finds it faster and within the tolerance of `calibration`, else `float32`.

    Args:
        images: (n, c, h, w) float32 normal images; a batch of the size that scoring uses gives the best trial.
        calibration: (m,) float32 scores of held-out normals in float32.
    """
    if isinstance(scorer, BackboneScorer):
        return "float32"  # nearly all of the time goes to the backbone, which has a precision of its own
    exact, half = TorchEngine(scorer, "float32", device), TorchEngine(scorer, "bfloat16", device)
    difference = np.abs(exact.run(images).scores - half.run(images).scores).max()
    if not difference <= allowed_difference(calibration):
        return "float32"
    in_full, in_half = _seconds((exact, half), images)
    return "bfloat16" if in_full > _WORTH * in_half else "float32"


def _seconds(engines: Sequence[TorchEngine], images: NDArray[np.float32]) -> list[float]:
    """The shortest time of each, in turns, so that other work on the machine slows all of them."""
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(5):
        for engine, found in zip(engines, times, strict=True):
            start = time.perf_counter()
            engine.run(images)
            found.append(time.perf_counter() - start)
    return [min(found) for found in times]
