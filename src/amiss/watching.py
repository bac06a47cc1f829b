"""Watching a video or a camera: frame scores smoothed as they come, events with a clip of each, bounded memory."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .data import Item
from .errors import WriteError
from .files import make_folder
from .maps import smoothed
from .report.film import Film
from .report.heatmap import overlay, shrunk
from .scoring import Row, score_collection
from .timeline import Event, Events, event_thresholds

if TYPE_CHECKING:
    from .detectors.base import Detector

#: Seconds of a clip before its event begins, and at most in all.
_BEFORE, _LONGEST = 2.0, 60.0
#: The longest side of the frames that are kept.
_KEPT_SIDE = 640
#: Frames a second where a source does not tell.
ASSUMED_RATE = 25.0

Record = dict[str, Any]


class Watcher:
    """Scores frames and tells events.

    Args:
        detector: fitted.
        folder: where `events.jsonl` grows and clips go, or None.
        alert: a program with its arguments, started at the beginning of every event with its record on standard input.
        rate: frames a second, of clips and of times that a source does not tell.
        live: are times those of the clock?
        events: finds the events; without it, one with the thresholds of the model.
    """

    def __init__(
        self,
        detector: Detector,
        folder: Path | None = None,
        alert: Sequence[str] = (),
        rate: float = ASSUMED_RATE,
        live: bool = False,
        events: Events | None = None,
    ) -> None:
        self._detector, self._folder, self._alert, self._rate, self._live = detector, folder, list(alert), rate, live
        self._events = events or Events(*event_thresholds(detector.decision_))
        self._recent: deque[NDArray[np.uint8]] = deque(maxlen=max(1, round(_BEFORE * rate)))
        self._film: Film | None = None
        self._filmed = 0
        self._running: list[subprocess.Popen[bytes]] = []
        self._started: Record | None = None
        self._times: deque[tuple[int, float | None]] = deque(maxlen=4096)
        #: Frames that were scored, frames that could not be read, and events so far.
        self.frames = self.unreadable = self.count = 0
        if folder is not None:
            make_folder(folder)

    def watch(
        self, items: Iterable[Item], batch_size: int | None = None, each: Callable[[Row, float], None] | None = None
    ) -> Iterator[Record]:
        """Score the frames of a source in order; yields a record at the start and the end of each event.

        Args:
            items: frames as they come; a collection, or a `LiveSource`.
            batch_size: frames scored together; 1 for what must not wait.
            each: told every row and its smoothed score.
        """
        try:
            picture = None if self._folder is None else _KEPT_SIDE
            for row in score_collection(self._detector, items, batch_size, 1 if self._live else None, picture):
                if row.error is not None:
                    self.unreadable += 1
                    continue
                event = self._events.push(row.score)
                if each is not None:
                    each(row, self._events.smoothed)
                yield from self._told(row, event)
                self.frames += 1
            last = self._events.finish()
            if self._started is not None or last is not None:
                yield from self._ended(last)
        finally:
            if self._film is not None:
                self._film.close()

    def _told(self, row: Row, ended: Event | None) -> Iterator[Record]:
        self._times.append((self.frames, row.item.time))
        if ended is not None:
            yield from self._ended(ended)
        current = self._events.current
        if current is not None and self._started is None:
            self.count += 1
            self._started = self._record("start", current, current.start)
            self._open_film()
            self._say(self._started)
            self._run_alert(self._started)
            yield self._started
        self._keep(row)

    def _ended(self, event: Event | None) -> Iterator[Record]:
        clip = self._close_film()
        if event is None:
            self._started = None
            return
        if self._started is None:  # it was over before it was long enough to be told
            self.count += 1
        record = self._record("end", event, event.start)
        record |= {"end": event.end, "end_time": self._time_of(event.end), "clip": clip and clip.name}
        self._started = None
        self._say(record)
        yield record

    def _record(self, what: str, event: Event, start: int) -> Record:
        return {
            "event": what,
            "number": self.count,
            "start": start,
            "start_time": self._time_of(start),
            "peak": event.peak,
            "peak_time": self._time_of(event.peak),
            "score": float(event.score),
            "p_value": float(self._detector.decision_.p_values(np.array([event.score], dtype=np.float32))[0]),
        }

    def _time_of(self, frame: int) -> float | str | None:
        """Seconds from the start of the video, or the time of the clock for what is live."""
        for number, time in reversed(self._times):
            if number == frame and time is not None:
                if not self._live:
                    return round(time, 3)
                return datetime.datetime.fromtimestamp(time).astimezone().isoformat(timespec="milliseconds")
        return None if self._live else round(frame / self._rate, 3)

    def _say(self, record: Record) -> None:
        if self._folder is None:
            return
        path = self._folder / "events.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise WriteError(f"{path} cannot be written: {error.strerror}; make room, or give another --out") from error

    def _run_alert(self, record: Record) -> None:
        self._running = [process for process in self._running if process.poll() is None]
        if not self._alert:
            return
        process = subprocess.Popen(self._alert, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(record).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:  # it does not care for its input
            pass
        self._running.append(process)

    def _open_film(self) -> None:
        if self._folder is None:
            return
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-") if self._live else ""
        self._film, self._filmed = Film(self._folder / f"{stamp}event-{self.count:04d}.mp4", self._rate), 0
        for picture in self._recent:
            self._film.add(picture)

    def _close_film(self) -> Path | None:
        film, self._film = self._film, None
        return film.close() if film is not None else None

    def _keep(self, row: Row) -> None:
        if self._folder is None:
            return
        picture = annotated(self._detector, row)
        self._recent.append(picture)
        if self._film is not None and self._filmed < _LONGEST * self._rate:
            self._film.add(picture)
            self._filmed += 1


def annotated(detector: Detector, row: Row) -> NDArray[np.uint8]:
    """The row's picture with what is amiss marked, (h, w, 3)."""
    picture = row.item.read() if row.picture is None else row.picture
    scale = detector.map_scale_
    if row.map is None or scale is None:
        shown = shrunk(picture, max(picture.shape[:2]))
        return np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
    region = detector.preprocessing_.region(*picture.shape[:2])
    return overlay(picture, smoothed(row.map)[region], scale.threshold, scale.floor)
