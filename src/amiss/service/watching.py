"""Watching a video or a camera: frame scores smoothed as they come, events with a clip of each, bounded memory.

And what is watched afterwards: an annotated film of a whole video.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..calibration import smoothed
from ..data import Item
from ..data.clips import video_of
from ..environment import versions
from ..environment.files import make_folder, picture_name
from ..environment.outputs import only_writer
from ..errors import DataError, WriteError
from ..events import Event, Events
from ..model import FittedModel, Row
from ..report.film import LONGEST, Film, marked
from ..report.heatmap import overlay, shrunk
from ..report.unlike import UnlikeImages
from .records import Record, append_record, read_records

#: Seconds of a clip before its event begins, and at most in all.
_BEFORE, _LONGEST = 2.0, 60.0
#: The longest side of the frames that are kept.
_KEPT_SIDE = 640
#: Frames whose times are remembered: more than an event can be told late.
_REMEMBERED = 256
#: Frames a second where a source does not tell.
ASSUMED_RATE = 25.0


class Alert:
    """A program that is started with a record on its standard input, and not waited for.

    Args:
        command: the program with its arguments; empty for none.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, record: Record) -> None:
        """Start it; it reads the record as a line of JSON."""
        self._running = [process for process in self._running if process.poll() is None]
        if not self._command:
            return
        # the words that the user gave, without a shell; what was seen goes in as its input
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(record).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:  # it does not care for its input
            pass
        self._running.append(process)


class Watcher:
    """Scores frames and tells events.

    Args:
        model: fitted.
        folder: where `events.jsonl` grows and clips go, or None. Events are numbered on from those that it holds.
        alert: a program with its arguments, started at the beginning of every event with its record on standard input.
        rate: frames a second, of clips and of times that a source does not tell.
        live: are times those of the clock?
        events: makes what finds the events of one video; without it, one with the thresholds of the model.
        source: what is watched, by the name that records give it.
    """

    def __init__(
        self,
        model: FittedModel,
        folder: Path | None = None,
        alert: Sequence[str] = (),
        rate: float = ASSUMED_RATE,
        live: bool = False,
        events: Callable[[], Events] | None = None,
        source: str | None = None,
    ) -> None:
        self._model, self._folder, self._rate, self._live, self._source = model, folder, rate, live, source
        self._alert = Alert(alert)
        thresholds = model.decision.event_thresholds()
        self._new_events = events or (lambda: Events(*thresholds))
        self._recent: deque[Row] = deque(maxlen=max(1, round(_BEFORE * rate)))
        self._film: Film | None = None
        self._filmed = self._earlier = 0
        self._damaged: dict[str, tuple[int, str | None]] = {}
        self._video: str | None = None
        self._begin(None)
        #: Frames that were scored, frames or files that could not be read, and events so far.
        self.frames = self.unreadable = self.count = 0
        #: Frames that look unlike those learnt from.
        self.unlike = UnlikeImages("frame")
        if folder is not None:
            make_folder(folder)

    def watch(
        self, items: Iterable[Item], batch_size: int | None = None, each: Callable[[Row, float], None] | None = None
    ) -> Generator[Record, None, None]:
        """Score the frames of a source in order; yields a record at the start and the end of each event.

        Args:
            items: frames as they come; a collection, or a `LiveSource`.
            batch_size: frames scored together; 1 for what must not wait.
            each: told every row and its smoothed score.

        Raises:
            WriteError: the folder cannot be written to, or somebody else is writing to it.
        """
        if self._folder is None:
            yield from self._watched(items, batch_size, each)
            return
        with only_writer(self._folder):
            self._earlier = _begin_after(self._folder)
            yield from self._watched(items, batch_size, each)

    def _watched(
        self, items: Iterable[Item], batch_size: int | None, each: Callable[[Row, float], None] | None
    ) -> Iterator[Record]:
        picture = None if self._folder is None else _KEPT_SIDE
        try:
            for row in self._model.rows(items, batch_size, 1 if self._live else None, picture):
                if row.error is not None:
                    self.unreadable += 1
                    self._note_damage(row)
                    continue
                # No event spans two videos, or the time in which a camera was away.
                video = (row.item.group if self._live else None) or video_of(row.item)
                if video != self._video:
                    yield from self._over()
                    self._begin(video)
                ended = self._events.push(row.score)
                if each is not None:
                    each(row, self._events.smoothed)
                yield from self._told(row, ended)
                self.unlike.add(row)
                self.frames += 1
                self._frame += 1
        except DataError:  # the source gave up; what it has shown until then counts
            yield from self._over()
            raise
        else:
            yield from self._over()
        finally:
            self._let_go()

    def _begin(self, video: str | None) -> None:
        """Nothing is known of this video yet."""
        self._video, self._events, self._frame = video, self._new_events(), 0
        self._started: Record | None = None
        self._times: deque[tuple[int, float | None]] = deque(maxlen=_REMEMBERED)
        self._peak: tuple[int, float | str | None] = (-1, None)
        self._recent.clear()

    def _note_damage(self, row: Row) -> None:
        """Count what cannot be read, by video; a camera has none."""
        video = video_of(row.item)
        count, reason = self._damaged.get(video, (0, row.error))
        # that a file is cut says more than that single frames are missing
        self._damaged[video] = count + 1, row.error if row.item.name == video else reason

    def _over(self) -> Iterator[Record]:
        """What is left to tell where a video is over."""
        yield from self._ended(self._events.finish())
        for video, (count, reason) in self._damaged.items():
            record = {"event": "damaged", "source": self._source, "video": video, "unreadable": count, "error": reason}
            self._say(record)
            yield record
        self._damaged.clear()

    def _told(self, row: Row, ended: Event | None) -> Iterator[Record]:
        self._times.append((self._frame, row.item.time))
        yield from self._ended(ended)
        current = self._events.current
        if current is not None and self._peak[0] != current.peak:
            self._peak = (current.peak, self._time_of(current.peak))
        if current is not None and self._started is None:
            self.count += 1
            started = self._record("start", current, self._time_of(current.start))
            self._say(started)  # first: a run that is stopped tells the end of what has been told alone
            self._started = started
            self._open_film()
            self._alert.run(self._started)
            yield self._started
        self._keep(row)

    def _ended(self, event: Event | None) -> Iterator[Record]:
        if event is None:
            return
        clip = self._close_film()
        # An event is told as soon as it is long enough, so its start has been.
        assert self._started is not None
        record = self._record("end", event, self._started["start_time"])
        record |= {"end": event.end, "end_time": self._time_of(event.end), "clip": clip and clip.name}
        self._started = None
        self._say(record)
        yield record

    def _record(self, what: str, event: Event, start_time: float | str | None) -> Record:
        return {
            "event": what,
            "source": self._source,
            "number": self._earlier + self.count,
            "video": None if self._live else self._video,
            "start": event.start,
            "start_time": start_time,
            "peak": event.peak,
            "peak_time": self._peak[1],
            "score": float(event.score),
            "p_value": float(self._model.decision.p_values(np.array([event.score], dtype=np.float32))[0]),
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
        if self._folder is not None:
            append_record(self._folder / "events.jsonl", record)

    def _open_film(self) -> None:
        if self._folder is None:
            return
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-") if self._live else ""
        self._film, self._filmed = (
            Film(self._folder / f"{stamp}event-{self._earlier + self.count:04d}.mp4", self._rate),
            0,
        )
        for row in self._recent:
            self._film.add(annotated(self._model, row))

    def _close_film(self) -> Path | None:
        film, self._film = self._film, None
        return film.close() if film is not None else None

    def _keep(self, row: Row) -> None:
        if self._folder is None:
            return
        self._recent.append(row)
        if self._film is not None and self._filmed < _LONGEST * self._rate:
            self._film.add(annotated(self._model, row))
            self._filmed += 1

    def _let_go(self) -> None:
        """Keep what is known of an event that is cut short, and its film; where that fails, leave nothing of it."""
        if self._started is not None:
            with contextlib.suppress(WriteError):
                for _ in self._ended(self._events.finish()):
                    pass  # in the file alone: nobody listens any more
        film, self._film = self._film, None
        if film is not None:
            with contextlib.suppress(WriteError):
                film.close()
            film.discard()


def _begin_after(folder: Path) -> int:
    """The largest number of an event in a folder, by its records and films: none of them is written over.

    Records are then ready to grow, see `read_records`.
    """
    numbers = [0]
    for path in folder.glob("*event-*.mp4*"):
        named = re.search(r"event-(\d+)\.mp4", path.name)
        numbers.append(int(named[1]) if named else 0)
    for record in read_records(folder / "events.jsonl"):
        number = record.get("number")
        numbers.append(number if isinstance(number, int) else 0)
    return max(numbers)


class Films:
    """An annotated film of every video whose rows pass by: its maps in colour, a strip of the scores below it, a red
    border from the first to the last frame of every event.

    Frames that could not be read are missing in it, and still images get none. A film has its name only once it is
    whole; `with` sees to it that none is left in part.

    Args:
        model: fitted; gave the rows, with their pictures.
        folder: where films are written; made where it is missing.

    Raises:
        MissingExtraError: PyAV is not installed.
        WriteError: the folder cannot be written to.
    """

    def __init__(self, model: FittedModel, folder: Path) -> None:
        versions.require("video", "writing a film", "av")
        make_folder(folder)
        self._model, self._folder = model, folder
        self._video, self._film = "", None  # type: str, _AnnotatedFilm | None
        #: Whole films so far.
        self.count = 0

    def add(self, row: Row) -> None:
        """Take in the next row."""
        if row.error is not None or (row.item.video is None and self._model.clip_length == 1):
            return
        video = video_of(row.item)
        if self._film is None or video != self._video:
            self.finish()
            self._video = video
            self._film = _AnnotatedFilm(self._model, self._folder / picture_name(video, "mp4"))
        self._film.add(row)

    def finish(self) -> None:
        """The last video is over."""
        film, self._film = self._film, None
        if film is not None:
            film.finish()
            self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        elif self._film is not None:
            self._film.discard()


class _AnnotatedFilm:
    """Of one video; holds back the few frames of which it is not yet known whether they belong to an event."""

    def __init__(self, model: FittedModel, path: Path) -> None:
        self._model, self._path = model, path
        decision = model.decision
        self._events = Events(*decision.event_thresholds())
        self._ordinary = float(np.median(decision.calibration))
        high = decision.threshold if np.isfinite(decision.threshold) else float(decision.calibration.max())
        self._span = max(high - self._ordinary, 1e-12)
        self._frames = 0
        self._first: list[Item] = []
        self._waiting: deque[tuple[int, NDArray[np.uint8], float]] = deque()
        self._levels: deque[float] = deque(maxlen=LONGEST)
        self._film: Film | None = None

    def add(self, row: Row) -> None:
        ended = self._events.push(row.score)
        level = (self._events.smoothed - self._ordinary) / self._span
        self._waiting.append((self._frames, annotated(self._model, row), level))
        self._frames += 1
        if self._film is None:  # two frames tell the rate
            self._first.append(row.item)
            if len(self._first) < 2:
                return
            self._film = Film(self._path, rate_of(self._first))
        self._settle(self._film, ended or self._events.current, over=not self._events.open)

    def finish(self) -> None:
        with self._film or Film(self._path, ASSUMED_RATE) as film:
            self._settle(film, self._events.finish(), over=True)
            film.close()

    def discard(self) -> None:
        if self._film is not None:
            self._film.discard()

    def _settle(self, film: Film, event: Event | None, over: bool) -> None:
        """Write the frames of the event, and, where it is over, or there is none, those behind it."""
        while self._waiting:
            number, picture, level = self._waiting[0]
            amiss = event is not None and event.start <= number <= event.end
            if not amiss and not over:
                return
            self._waiting.popleft()
            self._levels.append(level)
            film.add(marked(picture, list(self._levels), amiss))


def rate_of(first: Sequence[Item], assumed: float = ASSUMED_RATE) -> float:
    """Frames a second, from the times of the first two frames."""
    times = [item.time for item in first]
    if len(times) == 2 and times[0] is not None and times[1] is not None and times[1] > times[0]:
        return 1 / (times[1] - times[0])
    return assumed


def annotated(model: FittedModel, row: Row) -> NDArray[np.uint8]:
    """The row's picture with what is amiss marked, (h, w, 3)."""
    picture = row.item.read() if row.picture is None else row.picture
    scale = model.map_scale
    if row.map is None or scale is None:
        shown = shrunk(picture, max(picture.shape[:2]))
        return np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
    region = model.preprocessing.region(*picture.shape[:2])
    return overlay(picture, smoothed(row.map)[region], scale.threshold, scale.floor)
