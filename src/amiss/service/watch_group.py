"""Several cameras, videos and folders watched at once, each by a thread of its own: none waits for another."""

from __future__ import annotations

import contextlib
import itertools
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ..data import Collection
from ..data.live import LiveSource, is_live, shown_address
from ..errors import AmissError, DataError, UsageError
from ..model import FittedModel, Row
from .folders import FolderWatcher
from .records import Record
from .watching import Watcher, rate_of

#: Seconds between two records of how a camera is doing, and between two that tell of frames left out.
_STATUS_EVERY = 60.0
#: Seconds that what is watched has to come to its end, once it was stopped.
_PATIENCE = 1.5

Say = Callable[[Record], None]


class Source(NamedTuple):
    """What is watched: its name in records, and its address, file or folder."""

    name: str
    address: str


def named_source(text: str) -> Source:
    """A source as the command line has it, `SOURCE` or `NAME=SOURCE`; without a name it is called as it is shown.

    >>> named_source("door=rtsp://ann:secret@10.0.0.7/door")
    Source(name='door', address='rtsp://ann:secret@10.0.0.7/door')
    >>> named_source("rtsp://ann:secret@10.0.0.7/door").name
    'rtsp://10.0.0.7/door'
    """
    named = re.fullmatch(r"([\w.-]+)=(.+)", text, re.DOTALL)
    if named is None or Path(text).exists():
        return Source(shown_address(text) if is_live(text) else text, text)
    return Source(named[1], named[2])


def folders_below(out: Path | None, names: Sequence[str]) -> list[Path | None]:
    """A folder for what is kept of each source: `out` itself for one, else one below it, called as the source.

    Raises:
        UsageError: two sources have one name, or names that are one as names of files.
    """
    files = [re.sub(r"[^\w.-]+", "_", name).strip("_.") or "_" for name in names]
    for name, file in zip(names, files, strict=True):
        if files.count(file) > 1:
            raise UsageError(f"several sources are called {name}, or nearly so; give each a name: NAME={name}")
    if out is None or len(names) == 1:
        return [out] * len(names)
    return [out / file for file in files]


class Watched(Protocol):
    """One thing that is watched.

    Attributes:
        source: its name.
        done, total: images or frames scored, and in all, where that is known, else 0.
    """

    source: str
    done: int
    total: int

    def run(self, say: Say) -> None:
        """Watch until it is over, or stopped; raises `AmissError` where it cannot go on."""

    def stop(self) -> None:
        """Let `run` come to its end soon. May be called from elsewhere, also before it began."""

    def figures(self) -> Record:
        """Counts of what has been seen."""

    def notes(self) -> Sequence[str]:
        """Sentences for people, at the end."""


class WatchedCamera:
    """A camera or stream, until it is stopped.

    Args:
        source: its name in records.
        camera: where frames come from.
        watcher: live.
    """

    def __init__(self, source: str, camera: LiveSource, watcher: Watcher) -> None:
        self.source, self._camera, self._watcher = source, camera, watcher
        self.done = self.total = 0
        self._frames, self._since = 0, time.monotonic()
        self._dropped, self._told = 0, -_STATUS_EVERY

    def run(self, say: Say) -> None:
        """See `Watched`."""
        self._since = time.monotonic()
        told = self._watcher.watch(self._camera, 1, lambda row, smoothed: self._frame(say))
        with contextlib.closing(told) as records:
            for record in records:
                say(record)

    def stop(self) -> None:
        """See `Watched`."""
        self._camera.stop()

    def figures(self) -> Record:
        """See `Watched`."""
        watcher = self._watcher
        return {
            "frames": watcher.frames,
            "dropped": self._camera.dropped,
            "unlike": watcher.unlike.count,
            "events": watcher.count,
        }

    def notes(self) -> Sequence[str]:
        """See `Watched`."""
        return list(self._watcher.unlike.sentences())

    def _frame(self, say: Say) -> None:
        self._frames += 1
        now, camera = time.monotonic(), self._camera
        if camera.dropped > self._dropped and now - self._told >= _STATUS_EVERY:
            say({"event": "behind", "source": self.source, "dropped": camera.dropped - self._dropped})
            self._dropped, self._told = camera.dropped, now
        if now - self._since >= _STATUS_EVERY:
            figures: Record = {"frames_per_second": round(self._frames / (now - self._since), 1)}
            figures |= {"dropped": camera.dropped, "reconnected": camera.reconnections}
            say({"event": "status", "source": self.source, **figures, "unlike": self._watcher.unlike.count})
            self._frames, self._since = 0, now


class WatchedVideo:
    """A video, or a collection of frames, from its first frame to its last.

    Args:
        source: its name in records.
        frames: to score.
        watcher: not live.
    """

    def __init__(self, source: str, frames: Collection, watcher: Watcher) -> None:
        self.source, self._frames, self._watcher = source, frames, watcher
        self.done, self.total = 0, len(frames)
        self._stopped = threading.Event()

    def run(self, say: Say) -> None:
        """See `Watched`."""

        def each(row: Row, smoothed: float) -> None:
            self.done += 1

        wanted = itertools.takewhile(lambda item: not self._stopped.is_set(), self._frames)
        with contextlib.closing(self._watcher.watch(wanted, each=each)) as records:
            for record in records:
                say(record)
        if not self._watcher.frames and not self._stopped.is_set():
            raise DataError(f"no frame of {self.source} could be read; check that a player shows it")

    def stop(self) -> None:
        """See `Watched`."""
        self._stopped.set()

    def figures(self) -> Record:
        """See `Watched`."""
        watcher = self._watcher
        return {
            "frames": watcher.frames,
            "unreadable": watcher.unreadable,
            "unlike": watcher.unlike.count,
            "events": watcher.count,
        }

    def notes(self) -> Sequence[str]:
        """See `Watched`."""
        return [*self._frames.notes, *self._watcher.unlike.sentences()]


class WatchedFolder:
    """A folder, until it is stopped.

    Args:
        source: its name in records.
        watcher: of the folder.
        alert: is told every image that is flagged.
    """

    def __init__(self, source: str, watcher: FolderWatcher, alert: Say = lambda record: None) -> None:
        self.source, self._watcher, self._alert = source, watcher, alert
        self.done = self.total = 0

    def run(self, say: Say) -> None:
        """See `Watched`."""
        told = self._watcher.watch(lambda what, why: say({"event": what, "source": self.source, "why": why}))
        with contextlib.closing(told) as records:
            for record in records:
                say(record)
                if record["is_anomaly"]:
                    self._alert(record)

    def stop(self) -> None:
        """See `Watched`."""
        self._watcher.stop()

    def figures(self) -> Record:
        """See `Watched`."""
        watcher = self._watcher
        return {
            "images": watcher.images,
            "unreadable": watcher.unreadable,
            "unlike": watcher.unlike.count,
            "anomalous": watcher.anomalous,
        }

    def notes(self) -> Sequence[str]:
        """See `Watched`."""
        return list(self._watcher.unlike.sentences())


def camera(
    source: Source, say: Say, model: FittedModel, out: Path | None, alert: Sequence[str], rate: float, alone: bool
) -> WatchedCamera:
    """A camera to be watched; one among others is never given up."""
    live = LiveSource(
        source.address,
        told=lambda what, why: say({"event": what, "source": source.name, "why": why}),
        patience=10 if alone else None,
    )
    return WatchedCamera(source.name, live, Watcher(model, out, alert, rate, live=True, source=source.name))


def video(
    source: Source, frames: Collection, model: FittedModel, out: Path | None, alert: Sequence[str], rate: float
) -> WatchedVideo:
    """A video to be watched; `rate` is for one that does not tell its own."""
    watcher = Watcher(model, out, alert, rate_of(frames[:2], rate), source=source.name)
    return WatchedVideo(source.name, frames, watcher)


class WatchGroup:
    """Watches several things at once.

    Attributes:
        errors: why a source could not go on, by its name.
    """

    def __init__(self) -> None:
        self.errors: dict[str, AmissError] = {}
        self._records: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._stopped: float | None = None
        self._watched: list[Watched] = []

    def say(self, record: Record) -> None:
        """Tell a record to whoever iterates over `run`; from any thread."""
        self._records.put(record)

    def fail(self, source: str, error: AmissError) -> None:
        """Tell that a source cannot be watched, or not any longer."""
        self.errors[source] = error
        self.say({"event": "failed", "source": source, "why": str(error)})

    def stop(self) -> None:
        """Let all come to their end; safe in the handler of a signal."""
        self._stopped = time.monotonic()
        for each in self._watched:
            each.stop()

    def run(self, watched: Sequence[Watched], waiting: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Watch until all is over, or stopped; yields what they tell, as it comes.

        One that cannot go on tells that as a record `failed`, and the others go on. Of what does not come to its end
        within 1.5 seconds of a stop, nothing more is told.

        Args:
            watched: each with a name of its own.
            waiting: called a few times a second.
        """
        self._watched = list(watched)
        threads = [threading.Thread(target=self._one, args=(each,), daemon=True) for each in self._watched]
        for thread in threads:
            thread.start()
        left = len(threads)
        while left and (self._stopped is None or time.monotonic() - self._stopped < _PATIENCE):
            with contextlib.suppress(queue.Empty):
                record = self._records.get(timeout=0.2)
                left -= record is None
                if record is not None:
                    yield record
            waiting()

    def _one(self, watched: Watched) -> None:
        try:
            watched.run(self.say)
        except AmissError as error:
            self.fail(watched.source, error)
        except Exception as error:  # of one source: it must not end the others in silence
            why = f"{watched.source} cannot be watched ({type(error).__name__}: {error})"
            self.fail(watched.source, DataError(why))
        finally:
            self._records.put(None)
