"""Cameras: away and back, too fast, gone for good."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amiss.data.live import LiveSource
from amiss.errors import DataError, UsageError
from amiss.testing.videos import crossing, write_video


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.data.live._FIRST_WAIT", 0.01)


def picture(number: int) -> np.ndarray:
    return np.full((4, 4), number, np.uint8)


def test_a_camera_that_goes_away_and_comes_back() -> None:
    attempts, said = iter(range(100)), []

    def connect(address: str) -> Iterator[np.ndarray]:
        attempt = next(attempts)
        if attempt == 1:
            raise OSError("no route to host")
        yield from (picture(10 * attempt + number) for number in range(3))

    source = LiveSource("rtsp://door", connect, told=lambda what, why: said.append((what, why)))
    items = []
    for item in source:
        items.append(item)
        if len(items) == 6:
            source.stop()
    assert [int(item.read()[0, 0]) for item in items] == [0, 1, 2, 20, 21, 22]
    assert len({item.video for item in items[:3]}) == len({item.video for item in items[3:]}) == 1
    assert items[0].video != items[3].video, "no clip may span the gap"
    assert said[:3] == [("lost", "it ended"), ("back", ""), ("lost", "it ended")], "once, not at every attempt"
    assert source.reconnections >= 1


def test_no_frame_is_named_by_a_password() -> None:
    source = LiveSource("rtsp://user:se@cret@10.0.0.7/door", lambda address: iter([picture(0)]))
    item = next(iter(source))
    source.stop()
    assert item.name == "rtsp://10.0.0.7/door[0]"


def test_frames_are_dropped_rather_than_late() -> None:
    go = threading.Event()

    def connect(address: str) -> Iterator[np.ndarray]:
        yield picture(0)
        go.wait()
        yield from (picture(number % 250) for number in range(1, 1000))
        threading.Event().wait(5)

    source = LiveSource("camera:0", connect)
    items = []
    for item in source:
        items.append(item)
        if len(items) == 1:
            go.set()
            threading.Event().wait(0.3)  # while we are busy, a thousand frames come
        if len(source._waiting) == 0 and len(items) > 1:
            source.stop()
    assert source.dropped + len(items) == 1000
    assert source.dropped > 900
    assert int(items[-1].read()[0, 0]) == 999 % 250, "what is scored is what happens now"
    assert items[0].video != items[1].video


def test_an_address_that_never_answers_is_given_up() -> None:
    def connect(address: str) -> Iterator[np.ndarray]:
        raise OSError("connection refused")
        yield

    with pytest.raises(DataError, match=r"rtsp://nobody cannot be read \(connection refused"):
        next(iter(LiveSource("rtsp://nobody", connect, patience=2)))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("http_proxy", raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_behind_http_is_no_camera(tmp_path: Path, address: str) -> None:
    write_video(tmp_path / "a.mp4", crossing(1, 30))
    with pytest.raises(UsageError, match=r"a\.mp4 is a file, .* download it"):
        next(iter(LiveSource(f"{address}/a.mp4")))


def test_a_stream_behind_http_is_read(tmp_path: Path, address: str) -> None:
    """Motion JPEG, which has no length."""
    from PIL import Image

    with (tmp_path / "cam.mjpeg").open("wb") as file:
        for frame in crossing(1, 30):
            Image.fromarray(frame).save(file, "jpeg")
    items = iter(LiveSource(f"{address}/cam.mjpeg"))
    assert next(items).read().shape == (48, 64)


def test_what_ends_after_a_stop_is_not_lost() -> None:
    said: list[str] = []
    ended = threading.Event()

    def connect(address: str) -> Iterator[np.ndarray]:
        yield picture(0)
        yield picture(1)
        source._stopped.wait(5)
        ended.set()

    source = LiveSource("camera:0", connect, told=lambda what, why: said.append(what))
    next(iter(source))
    source.stop()
    assert ended.wait(5)
    threading.Event().wait(0.1)  # for the reader to leave
    assert said == []
