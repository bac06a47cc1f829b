"""Writing mp4 files, a frame at a time."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import versions
from ..errors import WriteError
from .heatmap import shrunk

#: The longest side of a film in pixels.
LONGEST = 960
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
        self.path, self._rate = path, max(1, round(rate))
        self._partial = path.with_name(f"{path.name}.partial")
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)

    def add(self, picture: NDArray[Any]) -> None:
        """Add a frame, (h, w) or (h, w, 3), as `amiss.report.heatmap.overlay` takes them; all get the first's size."""
        import av

        pixels = shrunk(picture, LONGEST)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        try:
            if self._stream is None:
                self._open(pixels.shape[1] // 2 * 2, pixels.shape[0] // 2 * 2)
            width, height = self._size
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(width=width, height=height, format="yuv420p")
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise WriteError(f"{self.path} cannot be written: {error.strerror}; make room, or give another") from error

    def close(self) -> Path | None:
        """Finish the file; returns its path, or None where it has no frame."""
        if self._stream is None:
            return None
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        self._stream = None
        os.replace(self._partial, self.path)
        return self.path

    def _open(self, width: int, height: int) -> None:
        import av

        self._container = av.open(str(self._partial), "w", format="mp4")
        name = next((each for each in _ENCODERS if each in av.codecs_available), None)
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
        elif self._container is not None:
            self._container.close()
            self._partial.unlink(missing_ok=True)
