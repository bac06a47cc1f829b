"""Cameras and streams: frames as they come, with reconnection, and dropped rather than late."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from amiss.data.collection import Item, Pixels
from amiss.data.video import pixels_of
from amiss.environment import versions
from amiss.errors import AmissError, DataError, UsageError

#: Frames that wait at most; when as many wait, all of them are dropped, so that what follows is in one piece.
_WAITING = 64
#: Seconds before the first attempt to reconnect, and at most; each waits twice as long as the one before.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
#: Seconds that a connection must last for the next wait to be the first again.
_STEADY = 10.0
#: Seconds without a frame after which a stream counts as lost, in microseconds as FFmpeg takes it.
_TIMEOUT = "10000000"


def is_live(source: str) -> bool:
    """Whether a source is a camera or a stream: `rtsp://...` and the like, `/dev/video0`, or `camera:0`.

    >>> is_live("rtsp://10.0.0.7/door"), is_live("camera:0"), is_live("hall.mp4")
    (True, True, False)
    """
    return bool(re.match(r"(rtsps?|rtmp|http|https|udp|srt|tcp)://|/dev/video\d+$|camera:\d+$", source))


def shown_address(address: str) -> str:
    """An address as it may be shown: without what may be a secret, the user, the password and the query.

    >>> shown_address("rtsp://ann:secret@10.0.0.7/door?token=4711")
    'rtsp://10.0.0.7/door'
    """
    return re.sub(r"\?.*", "", re.sub(r"//[^/]*@", "//", address)) if "://" in address else address


def _connected(address: str) -> Iterator[Pixels]:
    """The frames of a camera or stream from now on; ends, or raises, when it goes away."""
    import av

    options = {"rtsp_transport": "tcp", "timeout": _TIMEOUT} if address.startswith("rtsp") else {}
    device = re.match(r"camera:(\d+)$", address)
    path = f"/dev/video{device[1]}" if device else address
    container: Any = av.open(path, format="v4l2" if path.startswith("/dev/") else None, options=options)
    try:
        if address.startswith("http") and container.duration is not None:
            raise UsageError(
                f"{shown_address(address)} is a file, which would be watched too fast; download it, and watch the file"
            )
        for frame in container.decode(video=0):
            yield pixels_of(frame)
    finally:
        container.close()


class LiveSource:
    """The frames of a camera or stream as items, for ever, or until `stop`.

    A thread of its own reads. When it goes away it is connected again, after half a second, and twice as long after
    every failure, 30 seconds at most; a connection that does not last 10 seconds is a failure in this respect. When
    more than 64 frames wait, they are dropped: what is scored is what happens now. After either, `Item.video` has
    another name, so that no clip spans the gap; `Item.group` names the connection.

    Args:
        address: see `is_live`.
        connect: from the address to an iterator of frames; PyAV's by default.
        told: is told `lost` with the reason, once however many attempts then fail, and `back`.
        patience: attempts in a row that may fail before it gives up; None never does.

    Attributes:
        dropped: frames that came and were not scored.
        reconnections: how often it was connected again.
    """

    def __init__(
        self,
        address: str,
        connect: Callable[[str], Iterator[Pixels]] | None = None,
        told: Callable[[str, str], None] = lambda what, why: None,
        patience: int | None = None,
    ) -> None:
        if connect is None:
            versions.require("video", "reading a camera or stream", "av")
        self.address, self.dropped, self.reconnections = address, 0, 0
        self._connect, self._told, self._patience = connect or _connected, told, patience
        self._waiting: deque[tuple[int, int, float, Pixels]] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._over: AmissError | None = None
        self._piece = 0

    def stop(self) -> None:
        """No more frames; what iterates over it ends."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        reader = threading.Thread(target=self._read, name="amiss-camera", daemon=True)
        reader.start()
        number, shown = 0, shown_address(self.address)  # names are told, passwords are not
        try:
            while True:
                with self._changed:
                    while not self._waiting and not self._stopped.is_set() and self._over is None:
                        self._changed.wait()
                    if self._stopped.is_set():
                        return
                    if not self._waiting:
                        assert self._over is not None
                        raise self._over
                    connection, piece, when, pixels = self._waiting.popleft()
                yield Item(
                    f"{shown}[{number}]",
                    lambda pixels=pixels: pixels,  # type: ignore[misc]  # bound to this frame
                    group=f"{self.address}, connection {connection}",
                    video=f"{self.address} #{piece}",
                    time=when,
                    in_order=True,
                )
                number += 1
        finally:
            self.stop()

    def _read(self) -> None:
        shown, failures, seen, wait = shown_address(self.address), 0, False, _FIRST_WAIT
        while not self._stopped.is_set():
            reason, begun = "it ended", time.monotonic()
            try:
                for pixels in self._connect(self.address):
                    if self._stopped.is_set():
                        return
                    if failures or not seen:
                        if seen:
                            self.reconnections += 1
                            self._told("back", "")
                        failures, seen = 0, True
                    self._put(pixels)
            except UsageError as error:
                self._give_up(error)
                return
            except Exception as error:  # PyAV has many classes for what cameras do
                reason = str(error).replace(self.address, shown) or type(error).__name__
            if self._stopped.is_set():  # what ends after that is not lost
                return
            failures += 1
            self._piece += 1
            if failures == 1:
                self._told("lost", reason)
            if self._patience is not None and failures > self._patience:
                what = f"{shown} cannot be read ({reason})"
                self._give_up(DataError(f"{what}; check the address, and that nobody else uses it"))
                return
            if time.monotonic() - begun > _STEADY:
                wait = _FIRST_WAIT
            self._stopped.wait(wait)
            wait = min(_LONGEST_WAIT, 2 * wait)

    def _give_up(self, error: AmissError) -> None:
        with self._changed:
            self._over = error
            self._changed.notify_all()

    def _put(self, pixels: Pixels) -> None:
        with self._changed:
            if len(self._waiting) >= _WAITING:
                self.dropped += len(self._waiting)
                self._waiting.clear()
                self._piece += 1
            self._waiting.append((self.reconnections, self._piece, time.time(), pixels))
            self._changed.notify_all()
