"""Scoring a collection as a stream: decode ahead, score in batches, one row for every image, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .data import Item
from .data.clips import PassingClips, video_of
from .data.collection import Pixels
from .data.preprocessing import to_float
from .data.stack import Prepared, stream

if TYPE_CHECKING:
    from .detectors.base import Detector

#: Images read ahead where each takes along its picture, which is large.
_WITH_PICTURES = 16


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
    """

    item: Item
    score: float
    p_value: float
    is_anomaly: bool
    digest: str = ""
    error: str | None = None
    map: NDArray[np.float32] | None = None
    picture: Pixels | None = None


def score_collection(
    detector: Detector,
    collection: Iterable[Item],
    batch_size: int | None = None,
    ahead: int | None = None,
    picture: int | None = None,
) -> Iterator[Row]:
    """Rows in the order of the collection; holds a few batches at a time, whatever the number of images.

    Args:
        detector: fitted.
        collection: images, or frames as they come.
        batch_size: images scored together; without it, what suits the detector.
        ahead: images read ahead of the one that is scored; without it, two batches, or 16 with their pictures.
        picture: give each row its picture, the longest side at most so many pixels.
    """
    size = batch_size or detector.scoring_batch_
    ahead = ahead or (max(2 * size, _WITH_PICTURES) if picture is None else _WITH_PICTURES)
    batch: list[Prepared] = []
    for prepared in prepared_inputs(detector, collection, ahead, picture):
        batch.append(prepared)
        if len(batch) == size:
            yield from _score_batch(detector, batch)
            batch = []
    if batch:
        yield from _score_batch(detector, batch)


def prepared_inputs(
    detector: Detector, collection: Iterable[Item], ahead: int = 16, picture: int | None = None
) -> Iterator[Prepared]:
    """What the scorer is asked about, in the order of the collection: `image` is (c, h, w), or, where the method sees
    clips, (t, c, h, w), the clip that ends with the frame. Arguments as of `score_collection`.
    """
    clips = PassingClips(detector.clip_length) if detector.clip_length > 1 else None
    for prepared in stream(collection, detector.preprocessing_, ahead, picture):
        if clips is not None and prepared.image is not None:
            prepared = replace(prepared, image=clips.push(video_of(prepared.item), prepared.image))
        yield prepared


def _score_batch(detector: Detector, batch: list[Prepared]) -> Iterator[Row]:
    images = [to_float(prepared.image) for prepared in batch if prepared.image is not None]
    if images:
        engine, decision = detector.engine_, detector.decision_
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
        )
        position += 1
