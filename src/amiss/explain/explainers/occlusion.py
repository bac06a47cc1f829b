"""Occlusion: what the score loses when a window of the image looks as expected."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...settings import setting
from ..explainer import Attribution, Explainer, Question
from ..explanation import Region


@dataclass(kw_only=True, eq=False)
class Occlusion(Explainer):
    """A window passes over the image; what it hides looks as expected. A pixel's value is the mean loss of the score,
    in units of the largest calibration score, over the windows that hide it.
    """

    title: ClassVar[str] = "what the score loses when a window looks as expected"
    source: ClassVar[str] = "Zeiler and Fergus 2014"
    limits: ClassVar[str] = "sees nothing finer than its window; reasons far apart that act together look weak"

    window: float = setting(0.125, "side of the window, as a share of the image's shorter side", low=0.01, high=1.0)
    overlap: float = setting(0.5, "of neighbouring windows, as a share of their side", low=0.0, high=0.9)

    def attribute(self, question: Question) -> Attribution:
        height, width = question.size
        side = max(1, round(self.window * min(height, width)))
        windows = sliding(question.size, (side, side), self.overlap)
        scores = question.scores(question.image[None])[0]
        losses = (scores - question.without(window.mask(question.size) for window in windows)) / question.unit
        total, counts = np.zeros(question.size), np.zeros(question.size)
        for window, loss in zip(windows, losses, strict=True):
            total[window.slices] += loss
            counts[window.slices] += 1
        return Attribution((total / counts).astype(np.float32))


def sliding(size: tuple[int, int], window: tuple[int, int], overlap: float) -> list[Region]:
    """Windows of (h, w) pixels that cover an image of `size`, the last ones flush with its border.

    >>> [region.left for region in sliding((4, 10), (4, 4), 0.5)]
    [0, 2, 4, 6]
    >>> len(sliding((4, 4), (8, 8), 0.5))
    1
    """
    starts = []
    sides = [min(side, length) for side, length in zip(window, size, strict=True)]
    for length, side in zip(size, sides, strict=True):
        step = max(1, round(side * (1 - overlap)))
        starts.append(sorted({*range(0, length - side, step), length - side}))
    return [Region(top, left, sides[0], sides[1]) for top, left in itertools.product(*starts)]
