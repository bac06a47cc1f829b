"""Explaining one image or many: read, prepare, choose, explain."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..data import Images, Item, open_images
from ..data.collection import Pixels
from ..data.preprocessing import to_float
from ..data.stack import Prepared
from ..errors import DataError, UsageError
from ..progress import Progress, silent
from .explainable import Explainable
from .explainer import Explainer
from .explanation import Explanation

_PICTURE = 1024


@dataclass(frozen=True)
class Explained:
    """One image and its explanation, or why it could not be read.

    Attributes:
        item: the image.
        explanation: None where it could not be read.
        picture: (h, w) or (h, w, 3) for people, at most 1024 pixels a side.
        error: why it could not be read, else None.
    """

    item: Item
    explanation: Explanation | None
    picture: Pixels | None = None
    error: str | None = None


def explain_collection(
    model: Explainable,
    collection: Iterable[Item],
    explainer: Explainer,
    *,
    most: int = 0,
    total: int = 0,
    progress: Progress = silent,
) -> Iterator[Explained]:
    """Explain images one after the other; holds one at a time.

    Args:
        model: fitted.
        collection: images, or frames of videos, of which clips are made where the method sees clips.
        explainer: with its settings.
        most: explain only so many, those with the highest scores, highest first; 0 for all, in their order.
        total: how many the collection holds, for `progress`.
        progress: told what is done of how much.

    Raises:
        UsageError: the explainer does not suit the model.
        MissingExtraError: its libraries are not installed.
    """
    explainer.check(model)
    inputs = model.inputs(collection, picture=_PICTURE)
    if most:
        chosen = _strangest(model, inputs, most, total, progress)
        inputs, total = iter(chosen), len(chosen)
    for done, prepared in enumerate(inputs, start=1):
        if prepared.image is None:
            yield Explained(prepared.item, None, error=prepared.error)
        else:
            yield Explained(prepared.item, explain_prepared(model, explainer, prepared), prepared.picture)
        progress("explain", done, total, "")


def explain_one(model: Explainable, x: Images, explainer: Explainer) -> Explanation:
    """Explain the image `x`, or, where the method sees clips, the last frame of the video: `FittedModel.explain`."""
    if isinstance(x, np.ndarray) and (x.ndim == 2 or (x.ndim == 3 and x.shape[2] in (1, 3, 4) and len(x) > 4)):
        x = x[None]
    collection = open_images(x, "score")
    explainer.check(model)
    if model.clip_length == 1 and len(collection) != 1:
        raise UsageError(
            f"{collection.title} holds {len(collection)} images, and one at a time is explained; "
            "explain_collection takes many"
        )
    last = None
    for last in model.inputs(collection):
        if last.image is None:
            raise DataError(str(last.error))
    if last is None:
        raise DataError(f"{collection.title} holds no image to explain")
    return explain_prepared(model, explainer, last)


def explain_prepared(model: Explainable, explainer: Explainer, prepared: Prepared) -> Explanation:
    """Explain an image that has been prepared; the notes tell in what it looks unlike those learnt from, too.

    Args:
        model: fitted; its preprocessing has prepared the image.
        explainer: one that suits the model, see `Explainer.check`.
        prepared: an image, or a clip where the method sees clips.

    Raises:
        DataError: the image could not be read.
    """
    if prepared.image is None:
        raise DataError(str(prepared.error))
    explanation = explainer.explain(model, to_float(prepared.image), prepared.item.name)
    unlike = model.usual and prepared.appearance and model.usual.note(prepared.appearance)
    return replace(explanation, notes=[*explanation.notes, unlike]) if unlike else explanation


def _strangest(
    model: Explainable, inputs: Iterable[Prepared], most: int, total: int, progress: Progress
) -> list[Prepared]:
    """Those with the highest scores, and before them all that could not be read."""
    unreadable: list[Prepared] = []
    highest: list[tuple[float, int, Prepared]] = []
    for done, prepared in enumerate(inputs, start=1):
        if prepared.image is None:
            unreadable.append(prepared)
        else:
            score = float(model.engine.run(to_float(prepared.image)[None]).scores[0])
            heapq.heappush(highest, (score, -done, prepared))
            if len(highest) > most:
                heapq.heappop(highest)
        progress("score", done, total, "")
    return unreadable + [prepared for _, _, prepared in sorted(highest, key=lambda each: each[:2], reverse=True)]
