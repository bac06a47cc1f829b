"""`amiss score`: score images with a fitted model, streaming."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Engine, Json, Model, console, progress_bar

if TYPE_CHECKING:
    from ..detectors.base import Detector
    from ..scoring import Row

ORDER = 3
_HELP = """Score images with a model: p-values and decisions.

Streams: memory does not grow with the number of images. An unreadable file becomes a row with its error.

\b
Examples:
  amiss score part.amiss parts/new
  amiss score part.amiss parts/new --out scores.csv
  amiss score part.amiss 'cam1/*.png' cam2 --out scores.parquet --resume
  amiss score part.amiss parts/new --report page.html --heatmaps maps
"""


def register(app: typer.Typer) -> None:
    app.command("score", help=_HELP)(score)


def score(
    model: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Images.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Table to write: .csv, .jsonl or .parquet.", show_default=False)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write, or a folder.", show_default=False)] = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for overlaid maps.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was broken off (with --out).")] = False,
    engine: Engine = "auto",
    json_: Json = False,
) -> None:
    from ..data import open_images
    from ..errors import UsageError
    from ..model_file import load
    from ..results import result_table

    if resume and out is None:
        raise UsageError("--resume continues a table, so it needs --out")
    detector = load(model, engine)
    if heatmaps is not None and not detector.has_map:
        raise UsageError(f"{type(detector).__name__} has no anomaly map to write; fit with --method bcae1 for maps")
    collection = open_images(inputs, "score")
    from ..report.collect import ReportCollector

    collector = ReportCollector(detector, f"Scores of {model.name}") if report else None
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        run = {
            "model": hashlib.sha256(model.read_bytes()).hexdigest(),
            "inputs": collection.title,
            "n": len(collection),
        }
        table = stack.enter_context(result_table(out, run, resume)) if out else None
        done = table.done if table else 0
        if done and table is not None:
            table.check_follows(collection[done - 1].name)
        sinks: list[Any] = [table.write] if table else [_Printer(json_)]
        counts = _Counts()
        for row in islice(_rows(detector, collection, done), None):
            record = _record(row)
            for sink in sinks:
                sink(record)
            counts.add(row)
            if collector is not None:
                collector.add(row)
            if heatmaps is not None and row.map is not None:
                _write_heatmap(detector, row, heatmaps)
            progress("score", done + counts.total, len(collection), "")
            if table is not None and counts.total % 256 == 0:
                table.flush()
        if not table:
            sinks[0].close()
    _summary(counts, done, detector, out, json_)
    if collector is not None and report is not None:
        page = collector.write(report)
        console(True).print(f"Report: {page}")
    if counts.total and counts.errors == counts.total:
        raise typer.Exit(1)


class _Counts:
    def __init__(self) -> None:
        self.total = self.anomalous = self.errors = 0

    def add(self, row: Row) -> None:
        self.total += 1
        self.anomalous += row.is_anomaly
        self.errors += row.error is not None


def _rows(detector: Detector, collection: Any, done: int) -> Iterator[Row]:
    from ..scoring import score_collection

    return score_collection(detector, collection[done:] if done else collection)


def _record(row: Row) -> dict[str, Any]:
    from ..results import as_record

    return as_record(row)


class _Printer:
    """Rows on standard output while they come: lines for people, csv for pipes, one document for --json."""

    def __init__(self, json_mode: bool) -> None:
        self._json, self._people, self._first = json_mode, sys.stdout.isatty(), True

    def __call__(self, record: dict[str, Any]) -> None:
        from ..results import COLUMNS, csv_line

        if self._json:
            sys.stdout.write(('{"rows": [\n' if self._first else ",\n") + json.dumps(record))
        elif self._people:
            sys.stdout.write(_line(record) + "\n")
        else:
            sys.stdout.write((",".join(COLUMNS) + "\n" if self._first else "") + csv_line(record))
        self._first = False

    def close(self) -> None:
        if self._json:
            sys.stdout.write(('{"rows": [' if self._first else "\n") + "]}\n")


def _line(record: dict[str, Any]) -> str:
    if record["error"]:
        return f"unreadable                        {record['name']}  ({record['error']})"
    verdict = "AMISS " if record["is_anomaly"] else "normal"
    return f"{verdict}  score {record['score']:8.4f}  p {record['p_value']:.4f}  {record['name']}"


def _write_heatmap(detector: Detector, row: Row, folder: Path) -> None:
    from PIL import Image

    from ..files import atomic_write
    from ..report.heatmap import overlay

    scale = detector.map_scale_
    assert scale is not None
    assert row.map is not None
    picture = Image.fromarray(overlay(row.item.read(), row.map, scale.threshold, scale.floor))
    folder.mkdir(parents=True, exist_ok=True)
    safe = "_".join(part for part in Path(row.item.name).parts if part not in ("/", "..", "."))
    with atomic_write(folder / f"{safe}.png") as file:
        picture.save(file, "png")


def _summary(counts: _Counts, done: int, detector: Detector, out: Path | None, json_: bool) -> None:
    from rich.markup import escape

    people = console(json_mode=True)
    unreadable = f", {counts.errors} could not be read" if counts.errors else ""
    resumed = f" ({done} more had been scored before)" if done else ""
    people.print(
        f"[bold]{counts.anomalous} of {counts.total} images are amiss[/]{unreadable}{resumed}. "
        f"{escape(detector.decision_.explain())}"
    )
    if out is not None:
        people.print(f"Wrote {escape(str(out))}")
    if json_ and out is not None:
        print(
            json.dumps(
                {"out": str(out), "scored": counts.total, "anomalous": counts.anomalous, "errors": counts.errors}
            )
        )
