"""Reading many images at once: a bounded stream of prepared images, and whole collections held in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..environment.machine import cpu_count
from ..errors import DataError
from ..progress import Progress, silent
from .appearance import Appearance
from .clips import video_of
from .collection import Collection, Item, Pixels
from .preprocessing import Preprocessing, shrunk_to

#: Bytes above which a stack lives in a temporary file that is mapped into memory rather than in memory.
_IN_MEMORY = 4 << 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """One image after preprocessing, or the reason why there is none.

    Attributes:
        item: where it came from.
        image: (c, h, w) uint8 or float32 in [0, 1]; None where it could not be read.
        digest: 16 hexadecimal digits of the SHA-256 of the prepared image; equal pixels have equal digests.
        error: why it could not be read.
        picture: (h, w) or (h, w, 3) the image for people, where it was asked for.
        size: (height, width) before preprocessing; None where it could not be read.
        appearance: how it looks; None where it could not be read.
    """

    item: Item
    image: NDArray[Any] | None
    digest: str = ""
    error: str | None = None
    picture: Pixels | None = None
    size: tuple[int, int] | None = None
    appearance: Appearance | None = None


def digest(image: NDArray[Any]) -> str:
    """16 hexadecimal digits that identify a prepared image by its content, the same for 8-bit and float storage."""
    if image.dtype != np.uint8:
        image = np.rint(image * 255).astype(np.uint8)
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def prepare_item(
    item: Item, preprocessing: Preprocessing, picture: int | None = None, pixels: Pixels | None = None
) -> Prepared:
    """Read one image, unless its pixels are given, and prepare it; what goes wrong with it becomes its error."""
    try:
        pixels = item.read() if pixels is None else pixels
        image = preprocessing.prepare(pixels)
    except (DataError, OSError) as error:
        return Prepared(item, None, error=str(error))
    shown = None if picture is None else shrunk_to(pixels, picture)
    size = (pixels.shape[0], pixels.shape[1])
    return Prepared(item, image, digest(image), None, shown, size, Appearance.of(pixels, image))


def stream(
    items: Iterable[Item], preprocessing: Preprocessing, ahead: int = 64, picture: int | None = None
) -> Iterator[Prepared]:
    """Prepared images in order, decoded by several threads at most `ahead` images in advance.

    Args:
        items: what to read.
        preprocessing: of the model.
        ahead: images.
        picture: keep also a picture for people, its longest side at most so many pixels: a frame of a video is not
            easily read twice.
    """
    waiting: deque[Future[Prepared]] = deque()
    with ThreadPoolExecutor(max_workers=cpu_count(), thread_name_prefix="amiss-read") as pool:
        try:
            for item in items:
                waiting.append(_submitted(pool, item, preprocessing, picture))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _submitted(
    pool: ThreadPoolExecutor, item: Item, preprocessing: Preprocessing, picture: int | None
) -> Future[Prepared]:
    if not item.in_order:
        return pool.submit(prepare_item, item, preprocessing, picture)
    try:
        return pool.submit(prepare_item, item, preprocessing, picture, item.read())
    except (DataError, OSError) as error:
        failed: Future[Prepared] = Future()
        failed.set_result(Prepared(item, None, error=str(error)))
        return failed


@dataclass(frozen=True)
class Stack:
    """A collection read whole.

    Attributes:
        images: (n, c, h, w) uint8 or float32 in [0, 1].
        items, digests: n of each.
        unreadable: name and reason of what could not be read.
        groups: of frames of videos, what must stay together; None where that is `Item.group`.
        firsts: (n,) the index of the first frame of the run that each belongs to (see `amiss.data.clips.runs`).
        appearances: n of them, how each image looks; none where nobody asks.
    """

    images: NDArray[Any]
    items: list[Item]
    digests: list[str]
    unreadable: list[tuple[str, str]]
    groups: list[str | None] | None = None
    firsts: NDArray[np.int64] | None = None
    appearances: Sequence[Appearance] = ()

    def groups_of(self, indices: Iterable[int]) -> list[str]:
        """What each of these images belongs to; an image that stands alone, to its own digest."""
        groups = self.groups or [item.group for item in self.items]
        return [groups[index] or self.digests[index] for index in indices]

    @property
    def groups_are_whole(self) -> bool:
        """Whether no group is a part of a larger one, as a block of a video is."""
        if self.groups is None:
            return True
        whole = [item.group or video_of(item) for item in self.items]
        return len(set(zip(self.groups, whole, strict=True))) == len(set(whole))


def sample_pixels(collection: Collection, most: int = 64) -> Iterator[Pixels]:
    """Up to `most` decoded images, evenly spread; unreadable ones are passed over."""
    for index in np.unique(np.linspace(0, len(collection) - 1, min(most, len(collection))).astype(int)):
        try:
            yield collection[int(index)].read()
        except (DataError, OSError):
            continue


def load_stack(collection: Collection, preprocessing: Preprocessing, progress: Progress = silent) -> Stack:
    """Read every image of a collection; unreadable ones are listed, not fatal, unless none is left.

    Raises:
        DataError: no image could be read.
    """
    rows: NDArray[Any] | None = None
    items: list[Item] = []
    digests: list[str] = []
    unreadable: list[tuple[str, str]] = []
    appearances: list[Appearance] = []
    for done, prepared in enumerate(stream(collection, preprocessing), start=1):
        progress("read", done, len(collection), "")
        if prepared.image is None:
            unreadable.append((prepared.item.name, prepared.error or "unreadable"))
            continue
        if rows is None:
            rows = allocate(len(collection), prepared.image)
        elif rows.dtype == np.uint8 and prepared.image.dtype != np.uint8:
            rows = (rows / np.float32(255)).astype(np.float32)  # 8-bit so far, deeper from here on
        value = prepared.image
        if rows.dtype != np.uint8 and value.dtype == np.uint8:
            value = value / np.float32(255)
        rows[len(items)] = value
        items.append(prepared.item)
        digests.append(prepared.digest)
        if prepared.appearance is not None:
            appearances.append(prepared.appearance)
    if rows is None:
        first = f"; the first: {unreadable[0][1]}" if unreadable else ""
        raise DataError(f"none of the {len(collection)} images of {collection.title} could be read{first}")
    return Stack(rows[: len(items)], items, digests, unreadable, appearances=appearances)


def allocate(n: int, image: NDArray[Any]) -> NDArray[Any]:
    """Room for n arrays like `image`: in memory, or, where that would be much, in a temporary file mapped into it."""
    shape = (n, *image.shape)
    if n * image.nbytes <= _IN_MEMORY:
        return np.empty(shape, dtype=image.dtype)
    with tempfile.TemporaryFile(prefix="amiss-") as file:  # the mapping outlives the closed file
        return np.memmap(file, dtype=image.dtype, mode="w+", shape=shape)
