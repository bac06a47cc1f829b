"""Video files as frames: indexed without decoding, decoded in order, found again by their times after a jump (PyAV)."""

from __future__ import annotations

import bisect
import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from amiss.data.collection import Collection, Item, Pixels
from amiss.environment import versions
from amiss.errors import DataError

#: Endings of video files, in lower case.
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")

#: Further ahead than this a jump to the key frame before is faster than decoding all frames in between.
_WORTH_A_JUMP = 48
#: Seconds, and frames, by which the end of a whole file may differ from what its head says.
_SLACK, _SLACK_FRAMES = 0.25, 3
#: Bytes of a packet of an MPEG transport stream: plain, with a time in front, with error correction behind.
_TRANSPORT_PACKETS = (188, 192, 204)
#: Chroma of gray pictures, after rounding by an encoder.
_GRAY_CHROMA = (126, 130)


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video.

    >>> is_video_name("hall/CAM1.MP4"), is_video_name("a.png")
    (True, False)
    """
    return name.lower().endswith(VIDEO_ENDINGS)


class VideoFile:
    """The frames of one video file, in the order in which they are shown.

    Opening it reads the times of all frames, and decodes none. Frames are turned as their rotation says. Where a part
    of the file is damaged, its frames raise `DataError` when they are read, and the others come.

    Args:
        path: the file.

    Attributes:
        damage: a sentence where the file as a whole is cut, damaged, or shorter than its head says, else None. A cut
            that leaves no trace is not found: of a transport stream or a fragmented mp4, between two packets.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: the file is missing, holds no video, or is cut so that it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        versions.require("video", "reading video files", "av")
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._frames: Iterator[Any] | None = None
        self._container: Any = None
        self._ahead: Any = None
        self._last: tuple[int, Pixels] | None = None
        #: The last frame that was asked for, since the file was opened, and whether it was opened at a key frame.
        self._at, self._searched = -1, False
        with self._opened() as (container, stream):
            self._base = stream.time_base
            self._times, self.damage = _scanned(self.path, container, stream)
            #: Some old files have no times at all; then frames are counted, from the start.
            self._timeless = not self._times
            if self._timeless:
                rate = float(stream.average_rate or 25)
        if self._timeless:
            with self._opened() as (container, stream):
                count = sum(packet.size > 0 for packet in _packets(container, stream))
            self._times, self._base = list(range(count)), 1 / rate
        if not self._times:
            raise DataError(f"{self.path} holds a video stream without any frame; record it again, or leave it out")

    def __len__(self) -> int:
        return len(self._times)

    def time(self, index: int) -> float:
        """Seconds from the first frame to this one."""
        return float((self._times[index] - self._times[0]) * self._base)

    def frame(self, index: int) -> Pixels:
        """(h, w) or (h, w, 3) uint8. Reading in order is fast; a jump decodes from the key frame before.

        Raises:
            DataError: the frame is damaged, or the file is cut before it.
        """
        with self._lock:
            if self._last is not None and self._last[0] == index:
                return self._last[1]
            if self._frames is None or not self._within_reach(index):
                self._jump(index)
            frame = self._decoded_until(index)
            if frame.is_corrupt and self._searched:  # perhaps only for want of frames before the one that was found
                self._jump(index, search=False)
                frame = self._decoded_until(index)
            self._at = index
            if frame.is_corrupt:
                raise DataError(
                    f"{self.path} is damaged at frame {index} of {len(self)}; the frames around it are used"
                )
            pixels = pixels_of(frame)
            self._last = (index, pixels)
            if index == len(self) - 1:
                self.close()
            return pixels

    def close(self) -> None:
        """Let go of the file; reading a frame opens it again."""
        if self._container is not None:
            self._container.close()
        self._container = self._frames = self._ahead = None

    def _within_reach(self, index: int) -> bool:
        return self._at < index and (index - self._at <= _WORTH_A_JUMP or self._timeless)

    def _jump(self, index: int, search: bool = True) -> None:
        self.close()
        self._last, self._at = None, -1
        self._container, stream = _open(self.path)
        stream.thread_type = "AUTO"
        self._at = index - 1
        self._searched = search and index > _WORTH_A_JUMP and not self._timeless
        if self._searched:
            with contextlib.suppress(Exception):  # a file that cannot be searched is decoded from its start
                self._container.seek(self._times[index], stream=stream, backward=True)
        self._frames = self._decoded(stream)

    def _decoded(self, stream: Any) -> Iterator[Any]:
        """(index, frame) of all that can be decoded from here on; damaged packets are passed over."""
        count = 0
        for packet in _packets(self._container, stream):
            try:
                frames = packet.decode()
            except Exception:  # PyAV has many classes for damage
                continue
            for frame in frames:
                place = count if self._timeless or frame.pts is None else bisect.bisect_left(self._times, frame.pts)
                count += 1
                yield place, frame

    def _decoded_until(self, index: int) -> Any:
        assert self._frames is not None
        place, frame = self._ahead or next(self._frames, (len(self), None))
        while place < index:
            place, frame = next(self._frames, (len(self), None))
        self._ahead = None
        if place == index:
            return frame
        self._at = index
        self._ahead = (place, frame)
        cut = frame is None
        raise DataError(
            f"{self.path} is cut or damaged at frame {index} of {len(self)}; "
            + ("nothing behind it can be read" if cut else "the frames around it are used")
        )

    def _opened(self) -> Any:
        return _closing(self.path)


@contextlib.contextmanager
def _closing(path: str) -> Iterator[tuple[Any, Any]]:
    container, stream = _open(path)
    try:
        yield container, stream
    finally:
        container.close()


def _open(path: str) -> tuple[Any, Any]:
    import av

    try:
        container = av.open(path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be opened as a video ({cause}); it may be cut or no video: check that a player shows it"
        ) from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no video stream; leave it out")
    return container, container.streams.video[0]


def _packets(container: Any, *streams: Any, errors: list[str] | None = None) -> Iterator[Any]:
    """Of these streams, or of all; what ends them too early is told to `errors`."""
    packets = container.demux(*streams)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except Exception as error:  # a cut file ends in an error of some class
            if errors is not None:
                errors.append(str(error))
            return


def _scanned(path: str, container: Any, stream: Any) -> tuple[list[int], str | None]:
    """The times of all frames of a stream, and what is wrong with the file as a whole."""
    times: set[int] = set()
    errors: list[str] = []
    end, damaged = 0.0, 0
    for packet in _packets(container, errors=errors):  # sound may go on longer than the picture
        damaged += packet.is_corrupt
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                times.add(packet.pts)
    rate = float(stream.average_rate or 25)
    told = _told_seconds(container, stream) if times else 0.0
    if told - end > max(_SLACK, _SLACK_FRAMES / rate):
        return sorted(times), (
            f"{path} is cut: it says that it lasts {told:.2f} s, and ends after {end:.2f} s, so about "
            f"{round((told - end) * rate)} frames are missing behind the {len(times)} that are used; fetch it again"
        )
    if errors or damaged or _torn(path, container.format.name):
        return sorted(times), (
            f"{path} is cut or damaged: not all of it can be read, and nobody knows what is missing beside the "
            f"{len(times)} frames that are used; fetch it again"
        )
    return sorted(times), None


def _told_seconds(container: Any, stream: Any) -> float:
    """How long a file says that it lasts; 0 where it does not say.

    Of MPEG streams FFmpeg gives an estimate; of an avi, what is there, so that the number of frames in its head counts.
    """
    name = container.format.name
    if name.startswith("mpeg"):
        return 0.0
    if name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)
    return float(container.duration or 0) / 1e6


def _torn(path: str, format_name: str) -> bool:
    """Whether a file ends within one of the parts that it consists of; known of transport streams and of mp4."""
    size = Path(path).stat().st_size
    if format_name == "mpegts":
        return all(size % length for length in _TRANSPORT_PACKETS)
    if "mp4" not in format_name:
        return False
    with Path(path).open("rb") as file:
        place = 0
        while len(head := file.read(16)) >= 8:
            length = int(struct.unpack(">I", head[:4])[0])
            if length == 0:  # up to the end
                return False
            if length == 1 and len(head) == 16:
                length = int(struct.unpack(">Q", head[8:])[0])
            place += max(8, length)
            file.seek(place)
    return place > size


def pixels_of(frame: Any) -> Pixels:
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    if turns:
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
    return np.ascontiguousarray(pixels[:, :, 0]) if _is_gray(frame) else pixels


def _is_gray(frame: Any) -> bool:
    if frame.format.name.startswith("gray"):
        return True
    if not frame.format.name.startswith(("yuv4", "yuvj4")) or len(frame.planes) != 3:
        return False
    if frame.format.components[0].bits != 8:
        return False
    for plane in frame.planes[1:]:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        if rows.min() < _GRAY_CHROMA[0] or rows.max() > _GRAY_CHROMA[1]:
            return False
    return True


class _Frames(Sequence[Item]):
    """Items of a video's frames, made when they are asked for; behind them one for what is wrong with the file."""

    def __init__(self, video: VideoFile, item: Item, label: Callable[[int], bool | None]) -> None:
        self._video, self._item, self._label = video, item, label

    def __len__(self) -> int:
        return len(self._video) + (self._video.damage is not None)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        if index == len(self._video):
            return _unreadable(
                replace(self._item, anomalous=self._label(index - 1)), DataError(str(self._video.damage))
            )
        return replace(
            self._item,
            name=f"{self._item.name}[{index}]",
            read=partial(self._video.frame, index),
            anomalous=self._label(index),
            group=self._item.group or self._item.name,
            video=self._item.name,
            time=self._video.time(index),
            in_order=True,
        )


class Chained(Sequence[Item]):
    """Several sequences of items as one, without making the items."""

    def __init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - (int(self._ends[part - 1]) if part else 0)]


def frames_of(item: Item, label: Callable[[int], bool | None] | None = None) -> Sequence[Item]:
    """The frames of one video file; a file that cannot be opened is one item, whose reading raises the reason.

    Such an item, named by the file, also stands behind the frames of one that is cut or damaged.

    Args:
        item: named by the file; kind, label and group go to every frame.
        label: from a frame's index to its label, instead of the item's.
    """
    try:
        video = VideoFile(item.name)
    except DataError as error:
        return [_unreadable(item, error)]
    return _Frames(video, item, label or (lambda index: item.anomalous))


def _unreadable(item: Item, error: DataError) -> Item:
    return replace(item, read=partial(_raise, error), group=item.group or item.name, video=item.name, in_order=True)


def _raise(error: DataError) -> Pixels:
    raise error


def with_frames(collection: Collection) -> Collection:
    """The collection with its video files replaced by their frames; still images stay as they are."""
    if not any(is_video_name(item.name) for item in collection):
        return collection
    parts = [frames_of(item) if is_video_name(item.name) else [item] for item in collection]
    return replace(collection, items=Chained(parts))


def video_collection(path: str | os.PathLike[str]) -> Collection:
    """The frames of one video file, unlabelled.

    Raises:
        DataError: it cannot be opened.
    """
    name = os.fspath(path)
    video = VideoFile(name)
    item = Item(name.replace(os.sep, "/"), partial(video.frame, 0))
    return Collection(_Frames(video, item, lambda index: None), name)
