"""`amiss watch`: events in a video, or in what a camera sees, as they happen."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import sys
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
from .termination import TERMINATED

if TYPE_CHECKING:
    from ..model import FittedModel
    from ..service.mqtt import MqttPublisher
    from ..service.watch_group import Source, Watched, WatchGroup
    from ..service.webhook import Webhook

ORDER = 6
_HELP = """Watch cameras, videos and folders: tell when something is amiss, and keep a film of it.

SOURCE is a video, a folder of frames, or a known set; or, watched until Ctrl-C: rtsp://..., http://..., camera:0 or
/dev/video0. Several are watched at once, and may have names: NAME=SOURCE. A camera that goes away is connected again;
where scoring is too slow, frames are dropped, and counted. --folder scores every image that appears in a folder, once.

\b
An event begins when the score, averaged over the last 9 frames, exceeds the model's threshold. It ends with its video.
With --out DIR, events are added to DIR/events.jsonl, and each has its film there; those of earlier runs stay. Of
several sources each has a folder in DIR. Rows of the images in a folder are added to images.jsonl.
What cannot be read of a video is told when it is over, and --strict makes a failure of it.
--alert runs a program at the start of every event, with the event as JSON on its standard input. --webhook and --mqtt
send all events; addresses that hold secrets are best given as AMISS_WEBHOOK and AMISS_MQTT.

\b
Examples:
  amiss watch hall.amiss today.mp4 --out today
  amiss watch hall.amiss today.mp4 --false-alarm-rate 0.001
  amiss watch hall.amiss rtsp://10.0.0.7/door --out door --alert ./ring.sh
  amiss watch hall.amiss door=rtsp://10.0.0.7/1 gate=rtsp://10.0.0.8/1 --out site --webhook https://example.org/amiss
  amiss watch part.amiss --folder line-1 --folder line-2 --out parts --mqtt mqtt://localhost/parts
"""
#: Records that are sent on; images only where they are amiss or cannot be read.
_SENT = ("start", "end", "damaged", "lost", "back", "behind", "failed")
#: Seconds that receivers have at the end.
_FAREWELL = 0.4


def register(app: typer.Typer) -> None:
    app.command("watch", help=_HELP)(watch)


def watch(
    path: Model,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Videos, cameras or streams.", show_default=False),
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Score each image that appears in it (with --out).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for events.jsonl, images.jsonl and films.", show_default=False)
    ] = None,
    alert: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Run at the start of every event.", show_default=False)
    ] = None,
    webhook: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="POST events there, as JSON.", envvar="AMISS_WEBHOOK", show_default=False),
    ] = None,
    mqtt: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Publish them: mqtt://HOST/TOPIC.", envvar="AMISS_MQTT", show_default=False),
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
    named = [service.watch_group.named_source(each) for each in (*(sources or ()), *(folder or ()))]
    if not named:
        raise UsageError("nothing is to be watched; give a camera, a video, or --folder DIR")
    if folder and out is None:
        raise UsageError("--folder scores each image once, also after a restart, so it needs --out to remember them")
    outs = service.watch_group.folders_below(out, [each.name for each in named])
    model = load_model(path, engine, false_alarm_rate)
    _ = model.engine  # now, and once for all threads
    group = service.watch_group.WatchGroup()
    watched: list[Watched] = []
    for number, (source, below) in enumerate(zip(named, outs, strict=True)):
        if number >= len(sources or ()):
            watched.append(_folder(source, model, below, command))
        elif data.live.is_live(source.address):
            alone = len(named) == 1
            watched.append(service.watch_group.camera(source, group.say, model, below, command, rate, alone))
        else:
            try:
                frames = data.open_images(source.address, "score")
            except DataError as error:
                if len(named) == 1:
                    raise
                group.fail(source.name, error)
                continue
            watched.append(service.watch_group.video(source, frames, model, below, command, rate))
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        say = _Printer(json_)
        receivers: list[Webhook | MqttPublisher] = []
        for address in webhook or ():
            receivers.append(service.webhook.Webhook(address, lambda sentence: _tell([sentence])))
            stack.callback(receivers[-1].close, 0)
        for address in mqtt or ():
            receivers.append(service.mqtt.MqttPublisher(address, lambda sentence: _tell([sentence])))
            stack.callback(receivers[-1].close, 0)

        def waiting() -> None:
            total = sum(each.total for each in watched)
            if total:
                progress("watch", sum(each.done for each in watched), total, "")

        asked = stack.enter_context(_stopping(group.stop))
        for record in group.run(watched, waiting):
            if record["event"] != "failed" or len(named) > 1:  # of one alone, it is the error at the end
                say(record)
            if record["event"] in _SENT or (record["event"] == "image" and (record["is_anomaly"] or record["error"])):
                for receiver in receivers:
                    receiver.send(record)
        for receiver in receivers:
            receiver.close(_FAREWELL / len(receivers))
            if receiver.undelivered:
                _tell([f"{receiver.undelivered} records could not be delivered to {receiver.shown}"])
            counts = {"delivered": receiver.delivered, "undelivered": receiver.undelivered}
            say({"event": "sent", "to": receiver.shown, **counts})
    unreadable = _finish(watched, group, say)
    if len(named) == 1 and group.errors:
        raise group.errors[named[0].name]
    if not watched:  # none could be opened
        raise next(iter(group.errors.values()))
    if asked and all(each.total for each in watched):  # cut short: none of them goes on for ever
        if signal.SIGTERM in asked:
            print("amiss: stopped", file=sys.stderr)
            raise typer.Exit(TERMINATED)
        raise KeyboardInterrupt
    if group.errors or (strict and unreadable):
        raise typer.Exit(1)


def _folder(source: Source, model: FittedModel, out: Path | None, command: list[str]) -> Watched:
    assert out is not None  # as was asked for
    watcher = service.folders.FolderWatcher(model, Path(source.address), out, source.name)
    return service.watch_group.WatchedFolder(source.name, watcher, service.watching.Alert(command).run)


def _finish(watched: list[Watched], group: WatchGroup, say: _Printer) -> int:
    """Tell what was seen of each source that did not fail; returns how much could not be read in all."""
    unreadable = 0
    for each in watched:
        _tell(each.notes())
        figures = each.figures()
        unreadable += figures.get("unreadable", 0)
        if each.source not in group.errors:
            say({"event": "stopped", "source": each.source, **figures})
    return unreadable


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        console(True).print(f"[yellow]note[/]  {plain(note)}")


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Ctrl-C, or a service manager's signal to end, stops in good order; the second one at once. Yields what came."""
    asked: list[int] = []

    def stopped(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt
        stop()

    before = {each: signal.signal(each, stopped) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


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
    what, source = record["event"], plain(record.get("source"))
    if what == "image":
        verdict = (
            "[yellow]unreadable[/]" if record["error"] else "[bold red]AMISS[/]" if record["is_anomaly"] else "normal"
        )
        told = record["error"] or f"score {record['score']:.3f} (p {record['p_value']:.4f})"
        return f"{verdict}  {plain(record['name'])}  {plain(told)}"
    if what == "start":
        where = f"{plain(record['video'] or record['source'])} "
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
        return f"[yellow]lost[/]   {source}: {plain(record['why'])}; trying again"
    if what == "back":
        return f"[green]back[/]   {source}"
    if what == "behind":
        return f"[yellow]behind[/] {source}: {record['dropped']} frames left out, scoring is too slow"
    if what == "failed":
        return f"[bold red]failed[/] {plain(record['why'])}"
    return ", ".join(f"{key} {plain(value)}" for key, value in record.items() if key != "event")


def _when(time: float | str | None) -> str:
    if not isinstance(time, float):
        return str(time)
    minutes, seconds = divmod(time, 60)
    return f"{int(minutes)}:{seconds:05.2f}"
