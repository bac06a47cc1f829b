"""Scoring a stream: inputs decoded ahead, scored in batches, one row for every image, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibration import Decision
from ..data.appearance import UsualAppearance
from ..data.collection import Item, Pixels
from ..data.preprocessing import to_float
from ..data.stack import Prepared
from ..engines import Engine


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one image; score and p_value are NaN where it could not be read.

    Attributes:
        item: the image.
        score: higher = more anomalous.
        p_value: share of normal images that score at least so high.
        is_anomaly: the decision at the promised false-alarm rate.
        digest: of the prepared image.
        error: why it could not be read, else None.
        map: (h, w) float32 where the method has one.
        picture: the image for people, where it was asked for.
        size: (height, width) of the image; None where it could not be read.
        note: in what it looks unlike the images learnt from, in words, where it does.
    """

    item: Item
    score: float
    p_value: float
    is_anomaly: bool
    digest: str = ""
    error: str | None = None
    map: NDArray[np.float32] | None = None
    picture: Pixels | None = None
    size: tuple[int, int] | None = None
    note: str | None = None


def score_stream(
    inputs: Iterable[Prepared], engine: Engine, decision: Decision, size: int, usual: UsualAppearance | None = None
) -> Iterator[Row]:
    """Rows in the order of the inputs; holds one batch of `size` at a time. What looks unlike `usual` gets a note."""
    batch: list[Prepared] = []
    for prepared in inputs:
        batch.append(prepared)
        if len(batch) == size:
            yield from _score_batch(batch, engine, decision, usual)
            batch = []
    if batch:
        yield from _score_batch(batch, engine, decision, usual)


def _score_batch(
    batch: list[Prepared], engine: Engine, decision: Decision, usual: UsualAppearance | None
) -> Iterator[Row]:
    images = [to_float(prepared.image) for prepared in batch if prepared.image is not None]
    if images:
        output = engine.run(np.stack(images))
        p_values, flags = decision.p_values(output.scores), decision.is_anomaly(output.scores)
    position = 0
    for prepared in batch:
        if prepared.image is None:
            yield Row(prepared.item, float("nan"), float("nan"), False, error=prepared.error)
            continue
        yield Row(
            prepared.item,
            float(output.scores[position]),
            float(p_values[position]),
            bool(flags[position]),
            prepared.digest,
            map=None if output.maps is None else output.maps[position].copy(),  # a view would keep the whole batch
            picture=prepared.picture,
            size=prepared.size,
            note=None if usual is None or prepared.appearance is None else usual.note(prepared.appearance),
        )
        position += 1
