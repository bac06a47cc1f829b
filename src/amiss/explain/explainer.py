"""What every explainer shares: the question it answers, its settings, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..environment import versions
from ..errors import UsageError
from ..settings import Settable, check_settings, setting, values_of
from .explainable import Explainable
from .explanation import Explanation, Region, Replaced, regions_of, standing_out
from .filling import FILLINGS, chosen_filling, filling


class Question:
    """Why has this input its score? Holds the input, what would be expected in its place, and who answers.

    Args:
        model: fitted.
        image: (c, h, w), or (t, c, h, w) for the clip that ends with a frame, float32 in [0, 1].
        expected: the same shape, see `amiss.explain.filling`.
        together: inputs scored at once; 0 for what suits the model.

    Attributes:
        size: (h, w) of the map that is asked for.
        unit: the largest calibration score, by size; scores are explained in this unit, so that maps of one model can
            be compared (the thesis divides by the largest error of the anomalous test set, which nobody has).
        passes: inputs scored so far.
    """

    def __init__(
        self, model: Explainable, image: NDArray[np.float32], expected: NDArray[np.float32], together: int = 0
    ) -> None:
        self.model, self.image, self.expected = model, image, expected
        self.size: tuple[int, int] = (image.shape[-2], image.shape[-1])
        self.unit = float(np.abs(model.decision.calibration).max()) or 1.0
        self.passes = 0
        self.together = together or model.batch_size

    def count_pass(self) -> None:
        """One more input has gone through the scorer."""
        self.passes += 1

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) scores of (n, ...) inputs."""
        return np.concatenate([self._run(batch) for batch in self._batches(images)] or [np.empty(0, np.float32)])

    def without(self, masks: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
        """(n,) scores when the pixels of each mask (h, w) look as expected; holds one batch of inputs at a time."""
        return self.scores_of(self.mixed(mask) for mask in masks)

    def scores_of(self, inputs: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n,) scores of inputs that are made one by one."""
        scores = [self._run(np.stack(batch)) for batch in _batched(inputs, self.together)]
        return np.concatenate(scores or [np.empty(0, np.float32)])

    def mixed(self, mask: NDArray[Any]) -> NDArray[np.float32]:
        """The input, with the expected where the mask (h, w) is 1, and in between where it is in between."""
        weight = mask.astype(np.float32)
        return self.image + weight * (self.expected - self.image)

    def map(self) -> NDArray[np.float32] | None:
        """The method's own map (h, w) of the input; None where it has none."""
        self.passes += 1
        output = self.model.engine.run(self.image[None])
        return None if output.maps is None else output.maps[0]

    def _batches(self, images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        for begin in range(0, len(images), self.together):
            yield images[begin : begin + self.together]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.passes += len(images)
        return self.model.engine.run(np.ascontiguousarray(images, dtype=np.float32)).scores


def _batched(values: Iterable[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    batch: list[NDArray[np.float32]] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class Attribution:
    """What an explainer finds.

    Attributes:
        map: (h, w) float32, higher = more of a reason.
        region: the rectangle that it names itself; without one, what stands out of the map is taken.
        says: how the sentence about the marked pixels begins, where they are no reason for the score as it is.
        notes: what the reader should know.
    """

    map: NDArray[np.float32]
    region: Region | None = None
    says: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Explainer(metaclass=Settable):
    """Says why an image has its score; see the explainers for how."""

    title: ClassVar[str] = ""
    source: ClassVar[str] = ""
    limits: ClassVar[str] = ""
    #: The extra and the modules of it that it needs; scipy, which finds regions, comes with the same extra.
    needs: ClassVar[tuple[str, ...]] = ()

    seed: int = setting(0, "same seed, same image: same map", low=0, high=2**32 - 1)
    fill: str = setting("auto", "what stands where something is taken away", choices=FILLINGS)
    together: int = setting(0, "inputs scored at once; 0 for what suits the model", low=0)

    @classmethod
    def registry_name(cls) -> str:
        """The name of its file."""
        return cls.__module__.rpartition(".")[2]

    def attribute(self, question: Question) -> Attribution:
        """The map; each explainer's own."""
        raise NotImplementedError

    def refusal(self, model: Explainable) -> str | None:
        """Why it cannot explain this model, and what can; None where it can."""
        return None

    def check(self, model: Explainable) -> None:
        """Raises `UsageError` where settings or model do not suit, `MissingExtraError` without its libraries."""
        check_settings(type(self), self.get_params())
        versions.require("explain", f"the explainer {type(self).__name__}", "scipy", *self.needs)
        reason = self.refusal(model)
        if reason is not None:
            raise UsageError(reason)

    def get_params(self) -> dict[str, Any]:
        """The settings by name."""
        return values_of(self)

    def explain(
        self,
        model: Explainable,
        image: NDArray[np.float32],
        name: str = "",
        expected: NDArray[np.float32] | None = None,
    ) -> Explanation:
        """Explain one prepared input; `check` has to come before.

        Args:
            model: fitted.
            image: (c, h, w), or (t, c, h, w) for the clip that ends with a frame, float32 in [0, 1].
            name: what it is called.
            expected: what stands where something is taken away; without it, as the setting `fill` says.
        """
        start = time.perf_counter()
        expected = filling(model, image, self.fill) if expected is None else expected
        question = Question(model, image, expected, self.together)
        found = self.attribute(question)
        seconds = time.perf_counter() - start
        mask = standing_out(found.map) if found.region is None else found.region.mask(question.size)
        passes = question.passes
        scores = question.scores(np.stack([image, question.mixed(mask)]))
        decision = model.decision
        p_values, flags = decision.p_values(scores), decision.is_anomaly(scores)
        return Explanation(
            name=name,
            explainer=self.registry_name(),
            map=found.map.astype(np.float32, copy=False),
            mask=mask,
            regions=regions_of(mask, found.map),
            score=float(scores[0]),
            p_value=float(p_values[0]),
            is_anomaly=bool(flags[0]),
            replaced=Replaced(float(scores[1]), float(p_values[1]), bool(flags[1])),
            settings=self.get_params(),
            filled=chosen_filling(model, image, self.fill),
            passes=passes,
            seconds=seconds,
            says=found.says,
            notes=found.notes,
        )
