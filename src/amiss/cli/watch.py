"""`amiss watch`: events in a video, or in what a camera sees, as they happen."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import data, service
from ..errors import DataError, UsageError
from .console import (
    MOST_PIXELS,
    Engine,
    FalseAlarmRate,
    Json,
    MaxPixels,
    Model,
    Strict,
    console,
    load_model,
    plain,
    progress_bar,
)

if TYPE_CHECKING:
    from ..data.live import LiveSource
    from ..service.watching import Watcher

ORDER = 6
_HELP = """Watch a video or a camera: tell when something is amiss, and keep a film of it.

SOURCE is a video, a folder of frames, or a known set; or, watched until Ctrl-C: rtsp://..., http://..., camera:0 or
/dev/video0. A camera that goes away is connected again; where scoring is too slow, frames are dropped, and counted.

\b
An event begins when the score, averaged over the last 9 frames, exceeds the model's threshold. It ends with its video.
With --out DIR, events are added to DIR/events.jsonl, and each has its film there; those of earlier runs stay. What
cannot be read of a video is told when it is over, and --strict makes a failure of it.
--alert runs a program at the start of every event, with the event as JSON on its standard input.

\b
Examples:
  amiss watch hall.amiss today.mp4 --out today
  amiss watch hall.amiss today.mp4 --false-alarm-rate 0.001
  amiss watch hall.amiss rtsp://10.0.0.7/door --out door --alert ./ring.sh
"""
_STATUS_EVERY = 60.0


def register(app: typer.Typer) -> None:
    app.command("watch", help=_HELP)(watch)


def watch(
    path: Model,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Video, camera or stream.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for events.jsonl and films.", show_default=False)] = None,
    alert: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run at the start of every event.", show_default=False)
    ] = None,
    rate: Annotated[float, typer.Option(help="Frames a second, where the source does not tell.", min=0.1)] = 25.0,
    false_alarm_rate: FalseAlarmRate = None,
    engine: Engine = "auto",
    strict: Strict = False,
    max_pixels: MaxPixels = MOST_PIXELS,
    json_: Json = False,
) -> None:
    command = shlex.split(alert) if alert else []
    if alert is not None and (not command or shutil.which(command[0]) is None):
        raise UsageError(f"--alert {alert!r} cannot be run; give a program and its arguments")
    model = load_model(path, engine, false_alarm_rate)
    say = _Printer(json_)
    if data.live.is_live(source):
        live = data.live.LiveSource(source, told=lambda what, why: say({"event": what, "why": why}), patience=10)
        watcher = service.watching.Watcher(model, out, command, rate, live=True)
        status = _Status(live, watcher)
        records = watcher.watch(live, 1, lambda row, smoothed: status.frame(say))
        with _stopping(live.stop), contextlib.closing(records):
            for record in records:
                say(record)
        _tell(watcher.unlike.sentences())
        figures = {"frames": watcher.frames, "dropped": live.dropped, "unlike": watcher.unlike.count}
        say({"event": "stopped", **figures, "events": watcher.count})
        return
    collection = data.open_images(source, "score")
    rate = service.watching.rate_of(collection[:2], rate)
    watcher = service.watching.Watcher(model, out, command, rate)
    with progress_bar() as progress:
        done = 0

        def each(row: Any, smoothed: float) -> None:
            nonlocal done
            done += 1
            progress("watch", done, len(collection), "")

        with contextlib.closing(watcher.watch(collection, each=each)) as records:
            for record in records:
                say(record)
    _tell((*collection.notes, *watcher.unlike.sentences()))
    figures = {"frames": watcher.frames, "unreadable": watcher.unreadable, "unlike": watcher.unlike.count}
    say({"event": "stopped", **figures, "events": watcher.count})
    if not watcher.frames:
        raise DataError(f"no frame of {source} could be read; check that a player shows it")
    if strict and watcher.unreadable:
        raise typer.Exit(1)


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        console(True).print(f"[yellow]note[/]  {plain(note)}")


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, or a service manager's signal to end, stops in good order; the second one at once."""

    asked_before = False

    def asked(number: int, frame: object) -> None:
        nonlocal asked_before
        if asked_before:
            raise KeyboardInterrupt
        asked_before = True
        stop()

    before = {each: signal.signal(each, asked) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Status:
    """Says once a minute how a camera is doing."""

    def __init__(self, live: LiveSource, watcher: Watcher) -> None:
        self._live, self._watcher, self._frames, self._since = live, watcher, 0, time.monotonic()

    def frame(self, say: _Printer) -> None:
        self._frames += 1
        now = time.monotonic()
        if now - self._since >= _STATUS_EVERY:
            figures: dict[str, float] = {"frames_per_second": round(self._frames / (now - self._since), 1)}
            figures |= {"dropped": self._live.dropped, "reconnected": self._live.reconnections}
            say({"event": "status", **figures, "unlike": self._watcher.unlike.count})
            self._frames, self._since = 0, now


class _Printer:
    """Records on standard output: sentences for people, JSON lines for programs."""

    def __init__(self, json_mode: bool) -> None:
        self._json = json_mode or not sys.stdout.isatty()

    def __call__(self, record: dict[str, Any]) -> None:
        if self._json:
            print(json.dumps(record), flush=True)
        else:
            console().print(_sentence(record))


def _sentence(record: dict[str, Any]) -> str:
    what = record["event"]
    if what == "start":
        where = f"{plain(record['video'])} " if record["video"] else ""
        return f"[bold red]AMISS[/]  {where}from {_when(record['start_time'])}, score {record['score']:.3f}"
    if what == "end":
        film = f", film {plain(record['clip'])}" if record["clip"] else ""
        return (
            f"       until {_when(record['end_time'])}, worst at {_when(record['peak_time'])} "
            f"(p {record['p_value']:.4f}){film}"
        )
    if what == "damaged":
        return f"[yellow]damaged[/]  {record['unreadable']} unreadable: {plain(record['error'])}"
    if what == "lost":
        return f"[yellow]lost[/]   {plain(record['why'])}; trying again"
    if what == "back":
        return "[green]back[/]"
    return ", ".join(f"{key} {value}" for key, value in record.items() if key != "event")


def _when(time: float | str | None) -> str:
    if not isinstance(time, float):
        return str(time)
    minutes, seconds = divmod(time, 60)
    return f"{int(minutes)}:{seconds:05.2f}"
