"""Writing mp4 files, a frame at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..environment import versions
from ..errors import WriteError
from .heatmap import shrunk

#: The longest side of a film in pixels.
LONGEST = 960
#: Of what `marked` draws: the strip, its line at the threshold, columns below and above it, and the border.
_DARK, _LINE, _BELOW, _ABOVE = 24, 110, (120, 140, 160), (230, 60, 40)
#: Share of the height that the strip has, its least height, and the share of the shorter side that the border is wide.
_STRIP, _LOWEST, _BORDER = 0.1, 16, 0.012
#: Encoders in the order in which they are tried; builds of FFmpeg differ.
_ENCODERS = ("libx264", "h264", "mpeg4")


class Film:
    """An mp4 file that grows with every frame; it has its name only once it is whole.

    Args:
        path: the file.
        rate: frames a second.

    Raises:
        MissingExtraError: PyAV is not installed.
        WriteError: the file cannot be written, or no encoder is there.
    """

    def __init__(self, path: Path, rate: float) -> None:
        versions.require("video", "writing a film", "av")
        import av  # of the extra `video`

        self.path, self._rate = path, max(1, round(rate))
        self._av: Any = av
        self._partial = path.with_name(f"{path.name}.partial")
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)

    def add(self, picture: NDArray[Any]) -> None:
        """Add a frame, (h, w) or (h, w, 3), as `amiss.report.heatmap.overlay` takes them; all get the first's size."""
        pixels = shrunk(picture, LONGEST)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        with self._writing():
            if self._stream is None:
                self._open(pixels.shape[1] // 2 * 2, pixels.shape[0] // 2 * 2)
            width, height = self._size
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(width=width, height=height, format="yuv420p")
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def close(self) -> Path | None:
        """Finish the file; returns its path, or None where it has no frame."""
        if self._stream is None:
            return None
        with self._writing():
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._container = self._stream = None
            os.replace(self._partial, self.path)
        return self.path

    def discard(self) -> None:
        """Leave nothing of an unfinished film."""
        if self._container is None:
            return
        with contextlib.suppress(Exception):  # a full disk must not keep what has been written
            self._container.close()
        self._container = self._stream = None
        self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError) as error:
            raise WriteError(f"{self.path} cannot be written: {error.strerror}; make room, or give another") from error

    def _open(self, width: int, height: int) -> None:
        self._container = self._av.open(str(self._partial), "w", format="mp4")
        name = next((each for each in _ENCODERS if each in self._av.codecs_available), None)
        if name is None:
            raise WriteError(
                f"{self.path} cannot be written: this build of PyAV encodes none of {', '.join(_ENCODERS)}"
            )
        self._stream = self._container.add_stream(name, rate=self._rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = max(2, width), max(2, height), "yuv420p"
        self._size = self._stream.width, self._stream.height

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def marked(picture: NDArray[np.uint8], levels: Sequence[float], amiss: bool) -> NDArray[np.uint8]:
    """A frame above a strip of the scores up to it, in a red border where something is amiss.

    Args:
        picture: (h, w, 3).
        levels: of the last frames, this one last: 0 is as low as ordinary ones, 1 the threshold; cut at 2.
        amiss: does an event go on?

    Returns: (h + a tenth, w, 3).

    >>> marked(np.zeros((40, 30, 3), np.uint8), [0.5, 2.0], amiss=True).shape
    (56, 30, 3)
    """
    height, width = picture.shape[:2]
    strip = np.full((max(_LOWEST, round(_STRIP * height)), width, 3), _DARK, dtype=np.uint8)
    middle = len(strip) // 2
    recent = np.clip(np.array(levels[-width:], dtype=np.float64), 0, 2)
    filled = np.arange(len(strip))[::-1, None] < np.rint(recent * middle)
    strip[middle] = _LINE
    strip[:, width - len(recent) :][filled] = _BELOW
    strip[:, width - len(recent) :][filled & (recent > 1)] = _ABOVE
    shown = picture
    if amiss:
        edge = max(2, round(_BORDER * min(height, width)))
        shown = np.full_like(picture, _ABOVE)
        shown[edge:-edge, edge:-edge] = picture[edge:-edge, edge:-edge]
    return np.concatenate([shown, strip])
