"""Counterfactual rectangles: what would have to be different for another decision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...settings import setting
from ..explainer import Attribution, Explainer, Question
from ..explanation import Region
from .occlusion import sliding

#: Sides of the rectangles that are tried first, as shares of the image's.
_SHARES = (0.125, 0.25, 0.5, 1.0)
#: Steps by which a rectangle that is enough is made smaller, as a share of the image's side.
_STEP = 1 / 32


@dataclass(kw_only=True, eq=False)
class Counterfactual(Explainer):
    """Rectangles are changed, one at a time, and the score looked at again.

    `search=restore`: the smallest rectangle found that makes the image normal when it looks as expected; where none
    does, the one that lowers the score most. Rectangles of all sizes are tried in turn, the best is then made smaller
    from each side as long as the image stays normal, so a smaller one may exist. `search=raise`, the thesis's: the
    square whose change (to random pixels) raises the score most. A pixel's value is what the rectangles over it change,
    on average and by their area, in units of the largest calibration score.
    """

    title: ClassVar[str] = "the smallest rectangle that would have to look as expected"
    source: ClassVar[str] = "Ravi 2021, thesis, 3.8.4; after Wachter et al. 2017"
    limits: ClassVar[str] = "one rectangle; two defects apart need one that holds both"

    search: str = setting("restore", "the rectangle that makes it normal, or whose change raises the score most",
                          choices=("restore", "raise"))  # fmt: skip
    block: float = setting(0.25, "search=raise: side of the square, as a share of the shorter side", low=0.01, high=1.0)

    def attribute(self, question: Question) -> Attribution:
        return self._raised(question) if self.search == "raise" else _restored(question)

    def _raised(self, question: Question) -> Attribution:
        side = max(1, round(self.block * min(question.size)))
        squares = sliding(question.size, (side, side), 0.75)
        noise = np.random.default_rng(self.seed).random(question.image.shape, dtype=np.float32)

        def changed() -> Iterator[NDArray[np.float32]]:
            for square in squares:
                image = question.image.copy()
                image[..., *square.slices] = noise[..., *square.slices]
                yield image

        score = question.scores(question.image[None])[0]
        rises = (question.scores_of(changed()) - score) / question.unit
        square = squares[int(rises.argmax())]
        return Attribution(_averaged(question.size, squares, rises), square, "a change would raise the score most in")


def _restored(question: Question) -> Attribution:
    height, width = question.size
    tried = [
        window
        for down, across in itertools.product(_SHARES, repeat=2)
        for window in sliding(question.size, (max(1, round(down * height)), max(1, round(across * width))), 0.5)
    ]
    score = question.scores(question.image[None])[0]
    scores = question.without(window.mask(question.size) for window in tried)
    attribution = _averaged(question.size, tried, (score - scores) / question.unit)
    decision = question.model.decision
    if not decision.is_anomaly(np.array([score]))[0]:
        return Attribution(attribution, notes=["the image is normal already; no rectangle has to change"])
    normal = ~decision.is_anomaly(scores)
    if not normal.any():
        best = tried[int(scores.argmin())]
        return Attribution(
            attribution, best, notes=["no rectangle makes the image normal; this one lowers the score most"]
        )
    areas = np.array([window.height * window.width for window in tried])
    first = np.lexsort((scores, areas, ~normal))[0]
    return Attribution(attribution, _shrunk(question, tried[first]))


def _shrunk(question: Question, region: Region) -> Region:
    """Smaller from one side after the other, by the side that keeps the score lowest, while the image stays normal."""
    decision = question.model.decision
    steps = [max(1, round(_STEP * length)) for length in question.size]
    while True:
        smaller = list(_smaller(region, steps))
        if not smaller:
            return region
        scores = question.without(each.mask(question.size) for each in smaller)
        fine = ~decision.is_anomaly(scores)
        if not fine.any():
            return region
        region = smaller[int(np.where(fine, scores, np.inf).argmin())]


def _smaller(region: Region, steps: Sequence[int]) -> Iterator[Region]:
    down, across = steps
    if region.height > down:
        yield Region(region.top + down, region.left, region.height - down, region.width)
        yield Region(region.top, region.left, region.height - down, region.width)
    if region.width > across:
        yield Region(region.top, region.left + across, region.height, region.width - across)
        yield Region(region.top, region.left, region.height, region.width - across)


def _averaged(size: tuple[int, int], windows: Sequence[Region], changes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w): the mean change of the windows over each pixel, each divided by its share of the image."""
    total, counts = np.zeros(size), np.zeros(size)
    for window, change in zip(windows, changes, strict=True):
        share = window.height * window.width / (size[0] * size[1])
        total[window.slices] += change / share
        counts[window.slices] += 1
    return (total / counts).astype(np.float32)
