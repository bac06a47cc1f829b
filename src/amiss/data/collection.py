"""A collection of images: what is where, what is known about each, how to read it. Pixels are read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

#: One picture as decoded: (h, w) gray or (h, w, 3) RGB; uint8, uint16, or float32 in [0, 1].
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a collection.

    Attributes:
        name: what the image is called in results: its path as given, or `NAME[index]` for arrays.
        read: returns the decoded picture; raises `DataError` where it cannot.
        kind: the class or kind of defect it belongs to (`good`, `crack`, `3`), or None where unknown.
        anomalous: True, False, or None where no label is known.
        group: images of one group (one item, tile or video) are never divided between splits.
        mask: the file of the pixel mask of the defect, where there is one.
        video: what the video is called of which this is a frame; frames of one video follow each other.
        time: seconds from the start of the video, where they are known.
        in_order: one thread reads such items fastest, one after the other.
        part: of a video from which frames were left out, between which of them it lies; no clip spans two parts.
    """

    name: str
    read: Callable[[], Pixels]
    kind: str | None = None
    anomalous: bool | None = None
    group: str | None = None
    mask: Path | None = None
    video: str | None = None
    time: float | None = None
    in_order: bool = False
    part: int = 0


class LazyItems(Sequence[Item]):
    """Items made from their names, or numbers, when they are asked for: a name is a tenth of an item, and folders are
    large.
    """

    def __init__(self, names: Sequence[Any], make: Callable[[Any], Item]) -> None:
        self._names, self._make = names, make

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> LazyItems: ...
    def __getitem__(self, index: int | slice) -> Item | LazyItems:
        if isinstance(index, slice):
            return LazyItems(self._names[index], self._make)
        return self._make(self._names[index])


@dataclass(frozen=True)
class Collection(Sequence[Item]):
    """An ordered, immutable sequence of `Item`.

    Attributes:
        items: the images in a fixed order.
        title: what people call it (`fashion-mnist:test:normal=3`, a folder's name).
        notes: sentences a reader of any figure made from it must see (a lossy copy, a skipped folder).
    """

    items: Sequence[Item]
    title: str = "images"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Collection: ...
    def __getitem__(self, index: int | slice) -> Item | Collection:
        if isinstance(index, slice):
            return replace(self, items=self.items[index])
        return self.items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def where(self, keep: Callable[[Item], bool]) -> Collection:
        """The collection with only the items for which `keep` is true, in the same order."""
        return replace(self, items=[item for item in self.items if keep(item)])

    @cached_property
    def of_video(self) -> bool:
        """Are the images frames of videos, all of them?"""
        return bool(len(self.items)) and all(item.video is not None for item in self.items)

    @property
    def begins_with_video(self) -> bool:
        """Is the first image a frame of a video?"""
        return bool(len(self.items)) and self.items[0].video is not None

    @property
    def normal(self) -> Collection:
        """The items not known to be anomalous (unlabelled ones count as normal: fitting trusts its input).

        What lay before an anomaly and what lay behind it are different parts of a video.
        """
        kept, part = [], 0
        for item in self.items:
            if item.anomalous:
                part += 1
            else:
                kept.append(replace(item, part=part) if part else item)
        return replace(self, items=kept)

    def labels(self) -> NDArray[np.bool_]:
        """(n,) bool, True = anomalous; items without a label must have been left out before."""
        return np.array([bool(item.anomalous) for item in self.items], dtype=np.bool_)
