"""Clips of consecutive frames: cut from frames in memory when they are asked for, or from a stream as it passes."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .collection import Item

#: With fewer videos than this, each is cut into blocks of consecutive frames, and blocks are divided between the parts.
_FEWEST_VIDEOS = 10
#: Frames that a block holds at least.
_SHORTEST_BLOCK = 32


def video_of(item: Item) -> str:
    """The video that a frame belongs to: its own, or the folder or array that the image lies in."""
    return item.video or posixpath.dirname(item.name) or item.name.rpartition("[")[0]


def blocks(videos: Sequence[str]) -> list[str]:
    """What must stay together when frames are divided: each one's video, or a block of it where there are few videos.

    Args:
        videos: of every frame, in order.

    >>> sorted(set(blocks(["a"] * 80)))
    ['a, block 1', 'a, block 2']
    """
    counts: dict[str, int] = {}
    for video in videos:
        counts[video] = counts.get(video, 0) + 1
    if len(counts) >= _FEWEST_VIDEOS:
        return list(videos)
    wanted = max(_SHORTEST_BLOCK, -(-len(videos) // (2 * _FEWEST_VIDEOS)))
    seen: dict[str, int] = {}
    found = []
    for video in videos:
        number = max(1, counts[video] // wanted)
        position = seen[video] = seen.get(video, -1) + 1
        found.append(f"{video}, block {position * number // counts[video] + 1}" if number > 1 else video)
    return found


class Clips:
    """Clips (t, c, h, w) of frames (m, c, h, w), as an array of clips that is never held whole.

    Clip i ends with frame `ends[i]` and takes every `strides[i]`-th frame before it. Before the first frame of its run
    it is filled up with that frame.

    Args:
        frames: (m, c, h, w), not copied.
        firsts: (m,) the index of the first frame of the run (a video, or a block) that each frame belongs to.
        length: t.
        ends: (n,) indices of frames.
        strides: (n,) frames from one of a clip to the next, or one number for all.

    >>> frames = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    >>> clips = Clips(frames, np.array([0, 0, 0, 3, 3, 3]), 3, np.array([2, 3, 5]))
    >>> clips[:][:, :, 0, 0, 0].tolist(), clips.shape
    ([[0, 1, 2], [3, 3, 3], [3, 4, 5]], (3, 3, 1, 1, 1))
    """

    def __init__(
        self,
        frames: NDArray[Any],
        firsts: NDArray[np.int64],
        length: int,
        ends: NDArray[np.int64],
        strides: NDArray[np.int64] | int = 1,
    ) -> None:
        self._frames, self._firsts, self._length, self._ends = frames, firsts, length, ends
        self._strides = np.broadcast_to(np.asarray(strides, dtype=np.int64), ends.shape)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, t, c, h, w)"""
        return len(self), self._length, *self._frames.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the frames."""
        return self._frames.dtype

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """(k, t, c, h, w) of a slice, an index array, or a tensor of indices."""
        chosen = chosen if isinstance(chosen, slice) else np.asarray(chosen)  # numpy takes a tensor of one for a number
        ends, strides = self._ends[chosen], self._strides[chosen]
        back = np.arange(self._length)[::-1]
        indices = ends[:, None] - strides[:, None] * back
        clips: NDArray[Any] = self._frames[np.maximum(indices, self._firsts[ends][:, None])]
        return clips


def runs(items: Sequence[Item], groups: Sequence[str | None]) -> NDArray[np.int64]:
    """(n,) for every frame the index of the first of its run: neighbours of one video, its part, and group."""
    keys = [(video_of(item), item.part, group) for item, group in zip(items, groups, strict=True)]
    firsts = np.zeros(len(items), dtype=np.int64)
    for index in range(1, len(items)):
        firsts[index] = firsts[index - 1] if keys[index] == keys[index - 1] else index
    return firsts


def training_clips(
    frames: NDArray[Any],
    firsts: NDArray[np.int64],
    chosen: NDArray[np.int64],
    length: int,
    strides: Sequence[int] = (1,),
    most: int | None = None,
) -> Clips:
    """All whole clips that end with one of the chosen frames, at each stride; or `most` of them, evenly spread.

    Raises:
        DataError: no run is as long as a clip.
    """
    parts = [
        (ends, np.full(len(ends), stride))
        for stride in strides
        for ends in [chosen[chosen - firsts[chosen] >= (length - 1) * stride]]
    ]
    ends, steps = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not len(ends):
        raise DataError(f"no video has the {length} consecutive frames that a clip needs; give longer ones")
    if most is not None and len(ends) > most:
        kept = np.linspace(0, len(ends) - 1, most).round().astype(int)
        ends, steps = ends[kept], steps[kept]
    return Clips(frames, firsts, length, ends, steps)


class PassingClips:
    """The clips of a stream of frames, each as its last frame comes; holds t frames.

    >>> passing = PassingClips(2)
    >>> [passing.push("a", np.full((1, 1, 1), value))[:, 0, 0, 0].tolist() for value in (1, 2, 3)]
    [[1, 1], [1, 2], [2, 3]]
    """

    def __init__(self, length: int) -> None:
        self._kept: deque[NDArray[Any]] = deque(maxlen=length)
        self._length = length
        self._video: str | None = None

    def push(self, video: str, frame: NDArray[Any]) -> NDArray[Any]:
        """(t, c, h, w): the frames of the video up to this one, filled up with its first where they are too few."""
        if video != self._video:
            self._kept.clear()
            self._video = video
        self._kept.append(frame)
        missing = self._length - len(self._kept)
        return np.stack([self._kept[0]] * missing + list(self._kept))
