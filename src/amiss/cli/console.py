"""What all verbs share: where text goes, progress bars, common options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import data, registry
from ..lazy import Late, rich
from ..progress import Progress

if TYPE_CHECKING:
    from .. import settings as settings
    from ..model import FittedModel
else:
    settings = Late("amiss.settings")  # its classes cost --help a twentieth of its time

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; everything else goes to standard error.")]
Engine = Annotated[
    str,
    typer.Option(help="auto (torch where installed, else onnxruntime), torch, torch-bfloat16 or onnxruntime."),
]
FalseAlarmRate = Annotated[
    float | None,
    typer.Option(help="Decide anew at this rate, without another fit; else the model's own.", show_default=False),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Remove what an earlier run left in the folders for pictures.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 where anything could not be read, be it one image or frame.")
]
#: Pixels of the largest picture that is let through: some more than the largest cameras take.
MOST_PIXELS = 250_000_000


def _allow_pixels(most: int) -> int:
    data.decode.allow_pixels(most)
    return most


MaxPixels = Annotated[
    int,
    typer.Option(callback=_allow_pixels, min=1, help="Largest picture read, in pixels; against decompression bombs."),
]
Model = Annotated[Path, typer.Argument(help="A model file written by amiss fit.", metavar="MODEL", show_default=False)]

_TASKS = {"read": "Reading images", "fit": "Training", "score": "Scoring", "explain": "Explaining"}


def console(json_mode: bool = False) -> rich.console.Console:
    """Where people read: standard output, or standard error where a machine reads the former."""
    return rich.console.Console(stderr=json_mode, highlight=False, soft_wrap=True, emoji=False)  # :train: is no emoji


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1, allow_nan=False), flush=True)


def load_model(path: Path, engine: str, false_alarm_rate: float | None) -> FittedModel:
    """The model of a file on an engine, deciding at another rate where one is given."""
    model = registry.load(path, engine)
    return model if false_alarm_rate is None else model.with_false_alarm_rate(false_alarm_rate)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Progress bars on standard error where that is a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda task, done, total, detail: None
        return
    columns = (
        rich.progress.TextColumn("{task.description:<16}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("[dim]{task.fields[detail]}"),
    )
    people = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=people, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(task: str, done: int, total: int, detail: str) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(_TASKS.get(task, task), detail="")
            bars.update(tasks[task], completed=done, total=total, detail=detail)

        yield show


def plain(text: object) -> str:
    """Text of others, such as file names, as it is: no markup, no control codes for the terminal."""
    return rich.markup.escape(printable(str(text)))


def printable(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share for people."""
    return "–" if value is None else f"{100 * value:.3g} %"
