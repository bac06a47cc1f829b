"""The labelled images that a fit may be given beside the normal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..progress import Progress
from .collection import Item
from .grammar import Images, open_images
from .masks import check_masks, read_mask
from .preprocessing import Preprocessing
from .stack import load_stack


@dataclass(frozen=True)
class Labelled:
    """Labelled images, prepared.

    Attributes:
        anomalies: (m, c, h, w) to learn from, or None.
        masks: (m, 1, h, w) int8 of these: 1 where the defect is, 0 elsewhere; -1 everywhere where there is no mask.
        validation: images (k, c, h, w) and (k,) bool, True = anomalous, that choose the epoch, or None.
        digests: of all of them, so that `eval` can leave them out.
        notes: what was left out.
    """

    anomalies: NDArray[Any] | None
    masks: NDArray[np.int8] | None
    validation: tuple[NDArray[Any], NDArray[np.bool_]] | None
    digests: list[str]
    notes: list[str]

    @classmethod
    def load(
        cls,
        anomalies: Images | None,
        validation: Images | None,
        preprocessing: Preprocessing,
        normal: Sequence[str],
        progress: Progress,
    ) -> Labelled:
        """Read and prepare both; what is among the normal images (their digests: `normal`) is left out, with a note.

        Raises:
            DataError: nothing is left, or validation images without both labels.
        """
        digests: list[str] = []
        notes: list[str] = []
        images, masks, chosen = None, None, None
        if anomalies is not None:
            images, masks = _anomalies(anomalies, preprocessing, set(normal), digests, notes, progress)
        if validation is not None:
            chosen = _validation(validation, preprocessing, {*normal, *digests}, digests, notes, progress)
        return cls(images, masks, chosen, digests, notes)


def _anomalies(
    source: Images,
    preprocessing: Preprocessing,
    normal: set[str],
    digests: list[str],
    notes: list[str],
    progress: Progress,
) -> tuple[NDArray[Any], NDArray[np.int8]]:
    collection = open_images(source, "score").where(lambda item: item.anomalous is not False)
    if not len(collection):
        raise DataError(f"{open_images(source, 'score').title} holds no anomaly to learn from")
    stack = load_stack(collection, preprocessing, progress)
    _note_unreadable(stack.unreadable, notes)
    keep = [index for index, digest in enumerate(stack.digests) if digest not in normal]
    if len(keep) < len(stack.digests):
        notes.append(
            f"{len(stack.digests) - len(keep)} of the anomalies are also among the normal images, and were left out"
        )
    if not keep:
        raise DataError(f"every anomaly of {collection.title} is also among the normal images; sort them apart")
    digests += [stack.digests[index] for index in keep]
    images: NDArray[Any] = stack.images[keep]
    items = [stack.items[index] for index in keep]
    check_masks(items)
    unreadable: list[str] = []
    masks = np.stack([_mask(item, preprocessing, unreadable) for item in items])
    if unreadable:
        notes.append(
            f"{len(unreadable)} masks of anomalies could not be read and were left out; the first: {unreadable[0]}"
        )
    missing = sum(item.mask is None for item in items)
    if 0 < missing < len(items):
        notes.append(f"{missing} of {len(items)} anomalies have no mask: where they are amiss is not learnt from them")
    return images, masks


def _mask(item: Item, preprocessing: Preprocessing, unreadable: list[str]) -> NDArray[np.int8]:
    shape = (1, preprocessing.height, preprocessing.width)
    try:
        if item.mask is not None:
            return read_mask(item.mask, preprocessing).astype(np.int8)[None]
    except DataError as error:
        unreadable.append(f"{item.name}: {error}")
    return np.full(shape, -1, dtype=np.int8)


def _validation(
    source: Images,
    preprocessing: Preprocessing,
    used: set[str],
    digests: list[str],
    notes: list[str],
    progress: Progress,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    collection = open_images(source, "eval").where(lambda item: item.anomalous is not None)
    stack = load_stack(collection, preprocessing, progress)
    _note_unreadable(stack.unreadable, notes)
    keep = [index for index, digest in enumerate(stack.digests) if digest not in used]
    if len(keep) < len(stack.digests):
        notes.append(
            f"{len(stack.digests) - len(keep)} of the validation images are also among those to learn from, and were "
            "left out"
        )
    labels = np.array([bool(stack.items[index].anomalous) for index in keep])
    if not labels.any() or labels.all():
        raise DataError(
            f"{collection.title} must hold both normal images and anomalies, with labels and not among those to learn "
            "from, to choose an epoch"
        )
    digests += [stack.digests[index] for index in keep]
    images: NDArray[Any] = stack.images[keep]
    return images, labels


def _note_unreadable(unreadable: Sequence[tuple[str, str]], notes: list[str]) -> None:
    if unreadable:
        name, reason = unreadable[0]
        notes.append(f"{len(unreadable)} unreadable labelled file(s) were left out; the first, {name}: {reason}")
