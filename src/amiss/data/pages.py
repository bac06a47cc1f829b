"""Files that hold several pictures, as several images: pages of a TIFF, frames of a GIF, an animated WebP or AVIF."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from ..errors import DataError
from .collection import Collection, Item, Pixels
from .decode import PictureFile
from .video import Chained

_TIFF_ENDINGS, _ANIMATION_ENDINGS = (".tif", ".tiff"), (".gif", ".webp", ".avif")


def with_pages(collection: Collection) -> Collection:
    """The collection with each file that holds several pictures replaced by these, named `FILE[number]`.

    Pages of a TIFF are images that belong together, but where there is one such file alone, each stands for itself.
    Animations are videos. Of a page that is a smaller copy of another, or its mask, there is no image.
    """
    parts: list[Sequence[Item]] = []
    start = files = pages = 0
    for index, item in enumerate(collection):
        numbers = _numbers(item)
        if len(numbers) > 1:
            parts += [collection.items[start:index], _pages_of(item, numbers, alone=len(collection) == 1)]
            start, files, pages = index + 1, files + 1, pages + len(numbers)
    if not parts:
        return collection
    parts.append(collection.items[start:])
    many = "1 file holds" if files == 1 else f"{files} files hold"
    note = f"{many} several pages or frames, {pages} in all; each is an image, named FILE[number]"
    return replace(collection, items=Chained([part for part in parts if part]), notes=(*collection.notes, note))


def _numbers(item: Item) -> Sequence[int]:
    """Of the pictures in a file; one where it cannot be read, which then tells why."""
    if not item.name.lower().endswith((*_TIFF_ENDINGS, *_ANIMATION_ENDINGS)) or item.video is not None:
        return (0,)
    try:
        with Path(item.name).open("rb") as stream, closing(PictureFile(stream, item.name)) as file:
            return file.numbers()
    except (DataError, OSError):
        return (0,)


def _pages_of(item: Item, numbers: Sequence[int], alone: bool) -> list[Item]:
    reader = _Reader(item.name)
    animated = item.name.lower().endswith(_ANIMATION_ENDINGS)
    group = item.group or (None if alone and not animated else item.name)
    return [
        replace(
            item,
            name=f"{item.name}[{number}]",
            read=partial(reader.read, number, last=number == numbers[-1]),
            group=group,
            video=item.name if animated else None,
            in_order=True,
        )
        for number in numbers
    ]


class _Reader:
    """Reads pictures of one file, which stays open until the last was read: those in order are found at once."""

    def __init__(self, name: str) -> None:
        self._name, self._lock = name, threading.Lock()
        self._stream: IO[bytes] | None = None
        self._file: PictureFile | None = None

    def read(self, number: int, last: bool) -> Pixels:
        with self._lock:
            try:
                if self._file is None:
                    self._stream = Path(self._name).open("rb")  # noqa: SIM115  # see `close`
                    self._file = PictureFile(self._stream, self._name)
                return self._file.picture(number)
            except OSError as error:
                raise DataError(f"{self._name} cannot be opened ({error.strerror}); check that it is there") from error
            finally:
                if last:
                    self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._stream is not None:
            self._stream.close()
        self._file = self._stream = None

    __del__ = _close
