"""Small videos for tests, written with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


def crossing(steps: int | list[int], count: int = 60, size: tuple[int, int] = (48, 64), seed: int = 0) -> Frames:
    """(n, h, w) a bright block that crosses the picture by so many pixels a frame, in noise."""
    rng = np.random.default_rng(seed)
    each = np.full(count, steps) if isinstance(steps, int) else np.array(steps)
    frames = rng.integers(0, 20, (len(each), *size), dtype=np.uint8)
    for frame, place in zip(frames, np.cumsum(each), strict=True):
        frame[size[0] // 4 : size[0] // 2, (place + np.arange(8)) % size[1]] = 220
    return frames


def write_video(
    path: Path,
    frames: Frames,
    codec: str = "libx264",
    rate: int = 25,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write (n, h, w) or (n, h, w, 3) frames; `times` in ticks of a hundredth of a second, `options` of the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "10", "g": "12"}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        for number, pixels in enumerate(frames):
            picture = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
