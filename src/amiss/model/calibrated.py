"""The scores of held-out normal images, on every engine: what a fitted model decides by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import engines
from ..calibration import MapScale
from ..data.clips import Clips
from ..data.preprocessing import to_float
from ..engines import Engine, Output, run_batches
from ..environment import versions
from .manifest import PrecisionChoice

if TYPE_CHECKING:
    from torch import nn


#: Inputs that tell what rounding does to scores.
_LOOKED_AT = 8


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out normal images tell.

    Attributes:
        scores: of each, in the order in which the record names the images, float32 (n,), by the name of the engine;
            `torch` is always there.
        map_scale: on which maps are shown, where there are any.
        precision: the fastest that keeps the scores.
        inputs: the images, or clips, themselves (n, ...), as long as some engine may still have to be calibrated; they
            are no part of the model file.
        floor: what all scores were raised to, where they differed by rounding alone; else None.
    """

    scores: Mapping[str, NDArray[np.float32]]
    map_scale: MapScale | None
    precision: PrecisionChoice
    inputs: NDArray[Any] | Clips | None = None
    floor: float | None = None

    def of(self, engine: str) -> NDArray[np.float32]:
        """The scores on an engine; those of torch in float32 where it has none of its own."""
        return self.scores.get(engine, self.scores["torch"])

    def with_engine(self, engine: Engine, batch_size: int) -> Calibration:
        """With scores of another engine; the inputs must still be there."""
        assert self.inputs is not None
        scores = run_batches(engine, self.inputs, batch_size).scores
        scores = scores if self.floor is None else np.maximum(scores, np.float32(self.floor))
        return replace(self, scores={**self.scores, engine.name: scores})


def calibrate(
    scorer: nn.Module,
    inputs: NDArray[Any] | Clips,
    batch_size: int,
    device: str,
    false_alarm_rate: float,
    inside: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Score held-out normal images on torch, in float32 and in the precision chosen for this machine.

    Args:
        scorer: maps inputs to `score` and perhaps `map`.
        inputs: (n, c, h, w), or clips, prepared; nothing was learnt from them.
        batch_size: inputs scored together.
        device: auto, cpu, cuda or mps.
        false_alarm_rate: sets the scale of maps.
        inside: (h, w) where in inputs the model looks; None: everywhere.
    """
    output = run_batches(engines.torch_engine.TorchEngine(scorer, "float32", device), inputs, batch_size)
    found = calibrated_by(output, scorer, inputs[:batch_size], device, false_alarm_rate, inside)
    found = replace(found, inputs=inputs)
    chosen = found.precision.precision
    if chosen == "float32":
        return found
    return found.with_engine(engines.torch_engine.TorchEngine(scorer, chosen, device), batch_size)


def calibrated_by(
    output: Output,
    scorer: nn.Module,
    trial: NDArray[Any],
    device: str,
    false_alarm_rate: float,
    inside: NDArray[np.bool_] | None = None,
) -> Calibration:
    """What outputs of normal images tell, wherever they come from; they stand for every engine.

    Where the scores differ by less than those of one image do that was rounded to grey levels in two ways, as those of
    images that are all alike do, their order is rounding, and a threshold between them would flag images that were
    learnt from: they are all raised above the largest, by as much as rounding changes a score.

    Args:
        output: of the normal images, in float32.
        scorer: maps inputs to `score` and perhaps `map`.
        trial: a batch of inputs on which the precision is chosen.
        device: auto, cpu, cuda or mps.
        false_alarm_rate: sets the scale of maps.
        inside: (h, w) where in inputs the model looks; None: everywhere.
    """
    scale = None if output.maps is None else MapScale.of(output.maps, false_alarm_rate, inside)
    chosen = engines.torch_engine.choose_precision(scorer, to_float(trial), output.scores, device)
    precision = PrecisionChoice(machine=versions.machine(), precision=chosen)
    engine = engines.torch_engine.TorchEngine(scorer, "float32", device)
    exact, *rounded = _rounded_scores(engine, trial[:_LOOKED_AT], inside)
    if np.ptp(output.scores) > np.ptp(rounded, axis=0).max() or np.ptp(rounded) == 0:
        return Calibration({"torch": output.scores}, scale, precision)
    floor = np.float32(output.scores.max() + np.abs(rounded - exact).max())
    return Calibration({"torch": np.full_like(output.scores, floor)}, scale, precision, floor=float(floor))


def _rounded_scores(
    engine: Engine, inputs: NDArray[Any], inside: NDArray[np.bool_] | None
) -> list[NDArray[np.float32]]:
    """The scores of some inputs as they are, and twice as each value is changed by up to half a level of the files.

    What is compared is the two changes: the scorer may know the inputs as they are by heart, as a memory does, and
    noise raises all scores alike.
    """
    levels = 255 if inputs.dtype == np.uint8 else 65535
    images: NDArray[np.float32] = to_float(inputs)
    rng = np.random.default_rng(0)
    dither = [(rng.uniform(-0.5, 0.5, images.shape) / levels).astype(np.float32) for _ in range(2)]
    if inside is not None:  # what is filled in is never rounded otherwise
        dither = [each * inside for each in dither]
    return [engine.run(np.clip(each, 0, 1)).scores for each in (images, *(images + each for each in dither))]
