"""`amiss info`: what a model file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .. import model as models
from .. import registry
from ..lazy import rich
from .console import Json, Model, console, percent, print_json

if TYPE_CHECKING:
    from ..model import FittedModel
    from ..model.manifest import SplitFacts

ORDER = 6
_HELP = """Show what a model file holds, and check it.

Method, data, training, decision, versions.

\b
Examples:
  amiss info part.amiss
  amiss info part.amiss --json
"""


def register(app: typer.Typer) -> None:
    app.command("info", help=_HELP)(info)


def info(path: Model, json_: Json = False) -> None:
    model = registry.load(path)  # checks every part
    if json_:
        print_json(models.archive.read_manifest(path))
        return
    _print(console(), model)


def _parts(splits: SplitFacts) -> str:
    if splits.folds:
        return f"{splits.train.count} train, {splits.calibrate.count} calibrate, by {splits.folds} folds"
    return f"{splits.train.count} train, {splits.stop.count} stop, {splits.calibrate.count} calibrate"


def _print(people: rich.console.Console, model: FittedModel) -> None:
    size, record = model.preprocessing, model.record
    splits, training = record.splits, record.training
    rows = {
        "method": model.method.name,
        "learnt from": f"{splits.source} ({_parts(splits)})",
        "input": f"{size.colour}, {size.height}x{size.width} pixels",
        f"{'frames' if model.learnt_from_video else 'images'} look": (
            model.usual.in_words if model.usual else "not known: fitted by an earlier version"
        ),
        "looks at": size.roi.in_words if size.roi else f"all of each {'frame' if model.learnt_from_video else 'image'}",
        "sees": model.method.seen_through,
        "training": "; ".join(stage.in_words for stage in training.stages)
        + f", {training.precision} on {training.device}",
        "false-alarm rate": f"{percent(model.false_alarm_rate)}. {model.decision.explain()}",
        "engines": ", ".join(
            f"{name} ({len(scores)} calibration scores)" for name, scores in model.calibration.scores.items()
        ),
        "settings": ", ".join(f"{name}={value}" for name, value in model.settings.items()),
        "fitted": f"{record.fitted_on} with " + ", ".join(f"{k} {v}" for k, v in record.versions.items()),
        "integrity": "weights, graph and reference images match their SHA-256; the manifest is not signed",
    }
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, rich.markup.escape(value))
    for lesson in record.lessons:
        table.add_row("1 lesson", f"{lesson.date}: {lesson.normal} normal and {lesson.anomalous} anomalous images")
    for note in record.notes:
        table.add_row("note", rich.markup.escape(note))
    people.print(table)
