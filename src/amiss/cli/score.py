"""`amiss score`: score images with a fitted model, streaming."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import data, environment, service
from .. import explain as explaining
from .. import report as reporting
from ..errors import AmissError, UsageError
from .console import (
    MOST_PIXELS,
    Engine,
    FalseAlarmRate,
    Json,
    MaxPixels,
    Model,
    Overwrite,
    Strict,
    console,
    load_model,
    plain,
    printable,
    progress_bar,
)

if TYPE_CHECKING:
    from ..data import Collection
    from ..explain.explainer import Explainer
    from ..model import FittedModel, Row
    from ..report.collect import ReportCollector
    from ..report.regions import CocoFile
    from ..report.table import ResultTable

ORDER = 3
_HELP = """Score images with a model: p-values and decisions.

Streams: memory does not grow with the number of images. An unreadable file becomes a row with its error.

Methods with a map also find regions, where an image is amiss: as lists in the rows, as a COCO file, as masks.

--resume goes on with a run that was broken off, or adds to a finished table: rows of files that it has stay, those of
new files are appended, and files that were changed since then, or could not be read, are scored again.

\b
Examples:
  amiss score part.amiss parts/new
  amiss score part.amiss parts/new --out scores.csv
  amiss score part.amiss parts/new --false-alarm-rate 0.05
  amiss score part.amiss 'cam1/*.png' cam2 --out scores.parquet --resume
  amiss score part.amiss parts/new --out all.csv --resume    # every day: new files only
  amiss score part.amiss parts/new --report page.html --heatmaps maps
  amiss score part.amiss parts/new --out scores.jsonl --regions --coco where.json
  amiss score hall.amiss today.mp4 --out today.csv --film films
  amiss score part.amiss parts/new --report page.html --explain counterfactual
"""


def register(app: typer.Typer) -> None:
    app.command("score", help=_HELP)(score)


def score(
    path: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Images.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Table to write: .csv, .jsonl or .parquet.", show_default=False)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write, or a folder.", show_default=False)] = None,
    explain: Annotated[
        str | None,
        typer.Option(help="Explainer of the flagged images in the report; see amiss explain.", show_default=False),
    ] = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for overlaid maps.", show_default=False)] = None,
    regions: Annotated[bool, typer.Option("--regions", help="List the regions in every row (.jsonl, --json).")] = False,
    coco: Annotated[
        Path | None, typer.Option(help="COCO file of the regions: boxes, areas, masks.", show_default=False)
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder for a mask (PNG) of every image.", show_default=False)
    ] = None,
    film: Annotated[Path | None, typer.Option(help="Folder for a film of every video.", show_default=False)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a broken run, or add what is new to a table (with --out).")
    ] = False,
    overwrite: Overwrite = False,
    strict: Strict = False,
    max_pixels: MaxPixels = MOST_PIXELS,
    false_alarm_rate: FalseAlarmRate = None,
    engine: Engine = "auto",
    json_: Json = False,
) -> None:
    if resume and out is None:
        raise UsageError("--resume continues a table, so it needs --out")
    if resume and film is not None:
        raise UsageError("a film needs every frame from the first; leave out --resume, or --film")
    if resume and coco is not None:
        raise UsageError("a COCO file needs every image from the first; leave out --resume, or --coco")
    if regions and out is None and not json_:
        raise UsageError("--regions adds a list to every row, so it needs --out FILE.jsonl or --json; or try --coco")
    model = load_model(path, engine, false_alarm_rate)
    if (heatmaps or regions or coco or masks) and not model.gives_map:
        raise UsageError(f"{model.label} has no anomaly map; fit with --method bcae1 for maps")
    collection = data.open_images(inputs, "score")
    if film is not None and not collection.begins_with_video and model.clip_length == 1:
        raise UsageError(f"{collection.title} begins with a still image, of which there is no film; try --heatmaps")
    explainer = None if explain is None else _explainer(explain, model, report)
    what = "frames" if collection.of_video or model.clip_length > 1 else "images"
    counts, unlike = _Counts(), reporting.unlike.UnlikeImages(what.removesuffix("s"))
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        folders = {"--heatmaps": heatmaps, "--masks": masks, "--film": film}
        films = service.watching.Films(model, film) if film else None
        named = {option: folder for option, folder in folders.items() if folder}
        earlier = _hold(stack, named, overwrite, resume)
        collector = None
        if report is not None:
            collector = reporting.collect.ReportCollector(model, f"Scores of {path.name}", explainer, progress)
        annotations = None
        if coco is not None:
            annotations = stack.enter_context(reporting.regions.coco_file(coco, f"Regions found by {path.name}"))
        where = _Regions(model, annotations, masks) if regions or coco or masks else None
        further = [*(["time"] if _has_times(collection) else []), *(["map"] if heatmaps else [])]
        table = None
        if out is not None:
            run: dict[str, Any] = {"model": reporting.table.digest_of(path), "engine": model.engine.name}
            run |= {"inputs": inputs, "false-alarm rate": model.false_alarm_rate}
            written = reporting.table.result_table(out, run, resume, regions, further, model.decision)
            table = stack.enter_context(written)
        for each in earlier:  # now that nothing else forbids the run
            each.unlink()
        write = table.write if table else stack.enter_context(_Printer(json_, further))
        new: Sequence[int] = range(len(collection))
        again: Sequence[int] = ()
        if table is not None and table.done:
            new = table.lacking(item.name for item in collection)
            again = table.failed(item.name for item in collection)
            if collector is not None:
                _tell_earlier_rows(table, collection, {*new, *again}, collector)
        if films is not None:
            stack.enter_context(films)
        # a frame of a video is found again only by a jump, so its picture comes along where it is shown
        picture = reporting.film.LONGEST if films or (heatmaps is not None and collection.begins_with_video) else None
        # two streams, so that the new ones come in the same batches whatever is tried again
        rows = (_scored(model, collection, some, picture) for some in (new, again))
        for row in itertools.chain.from_iterable(rows):
            record = reporting.table.as_record(row)
            if "time" in further:
                record["time"] = None if row.item.time is None else round(row.item.time, 3)
            if heatmaps is not None:
                record["map"] = None if row.map is None else _write_heatmap(model, row, heatmaps)
            if where is not None:
                found = where.add(row)
                record |= {"regions": found} if regions else {}
            if table is not None and counts.total >= len(new):  # the second stream
                table.replace(record)
            else:
                write(record)
            counts.add(row)
            unlike.add(row)
            if collector is not None:
                collector.add(replace(row, picture=None))
            if films is not None:
                films.add(row)
            progress("score", counts.total, len(new) + len(again), "")
            if table is not None and counts.total % 256 == 0:
                table.flush()
        page = collector.write(report) if collector is not None and report is not None else None
    for note in (*collection.notes, *unlike.sentences()):
        console(True).print(f"[yellow]note[/]  {plain(note)}")
    _summary(counts, table, len(again), model, out, json_, what)
    if films is not None:
        console(True).print(f"{films.count} film{'s' * (films.count != 1)} in {plain(film)}")
    if where is not None:
        console(True).print(f"{where.count} region{'s' * (where.count != 1)} in {where.images} {what}")
    if page is not None:
        console(True).print(f"Report: {plain(page)}")
    some_could = table is not None and table.done > len(again) == counts.total  # earlier, and nothing was new
    if counts.errors and (strict or (counts.errors == counts.total and not some_could)):
        raise typer.Exit(1)


def _hold(stack: ExitStack, folders: dict[str, Path], overwrite: bool, add: bool) -> list[Path]:
    """The folders of pictures are this run's until the stack is left; two options may name one.

    Returns the files of earlier runs, to be removed.
    """
    held: list[Path] = []
    earlier: list[Path] = []
    for option, folder in folders.items():
        if not any(folder.exists() and each.samefile(folder) for each in held):
            taken = environment.outputs.run_folder(folder, option, overwrite=overwrite, add=add)
            earlier += stack.enter_context(taken)
            held.append(folder)
    return earlier


def _has_times(collection: Collection) -> bool:
    return collection.begins_with_video and any(item.time is not None for item in collection)


def _scored(model: FittedModel, collection: Collection, wanted: Sequence[int], picture: int | None) -> Iterator[Row]:
    """The rows of the images at these positions."""
    fed = _fed(wanted, len(collection), model.clip_length, model.batch_size)
    new = set() if fed is wanted else set(wanted)
    for index, row in zip(fed, model.rows((collection[index] for index in fed), picture=picture), strict=True):
        if fed is wanted or index in new:
            yield row


def _fed(new: Sequence[int], count: int, clip_length: int, together: int) -> Sequence[int]:
    """Indices of the images to be scored: the new ones, and before them the frames that their clips need.

    New ones in one piece at the end, as a broken run leaves them, begin with their whole batch: the same batches give
    the same scores to the last bit.
    """
    if len(new) in (0, count):
        return new
    wanted = set(new)
    clips = {at for index in new if index - 1 not in wanted for at in range(max(0, index - clip_length + 1), index)}
    fed = sorted(wanted | clips)
    return range(fed[0] // together * together, count) if count - fed[0] == len(fed) else fed


def _explainer(name: str, model: FittedModel, report: Path | None) -> Explainer:
    if report is None:
        raise UsageError("--explain adds explanations to the report, so it needs --report; or try: amiss explain")
    if model.clip_length > 1:
        raise UsageError(f"{model.label} sees clips, and a report explains single images; try: amiss explain")
    explainer = explaining.get_explainer(name)()
    explainer.check(model)
    return explainer


def _tell_earlier_rows(table: ResultTable, collection: Collection, new: set[int], collector: ReportCollector) -> None:
    """A report of a resumed run is about all images given; those scored before have no map any more."""
    records = {table.kept_name(record["name"]): record for record in table.rows()}
    for index, item in enumerate(collection):
        if index not in new:
            collector.add(reporting.table.as_row(item, records[table.kept_name(item.name)]))


class _Counts:
    def __init__(self) -> None:
        self.total = self.anomalous = self.errors = 0

    def add(self, row: Row) -> None:
        self.total += 1
        self.anomalous += row.is_anomaly
        self.errors += row.error is not None


class _Regions:
    """Finds where each image is amiss, and writes it where that was asked for."""

    def __init__(self, model: FittedModel, coco: CocoFile | None, masks: Path | None) -> None:
        self._model, self._coco, self._masks = model, coco, masks
        self.count = self.images = 0

    def add(self, row: Row) -> list[dict[str, Any]] | None:
        """The regions of an image as plain values; None where it could not be read."""
        if row.size is None:
            return None
        found = self._model.regions_of(row)
        self.count += len(found)
        self.images += bool(found)
        if self._coco is not None:
            self._coco.add(row.item.name, row.size, found)
        if self._masks is not None:
            target = self._masks / environment.files.picture_name(row.item.name, "mask.png")
            reporting.heatmap.write_png(reporting.regions.mask_picture(row.size, found), target)
        return [region.to_dict() for region in found]


class _Printer:
    """Rows on standard output while they come: lines for people, csv for pipes, one document for --json."""

    def __init__(self, json_mode: bool, further: Sequence[str] = ()) -> None:
        self._json, self._people, self._first = json_mode, sys.stdout.isatty(), True
        self._columns = (*reporting.table.COLUMNS, *further)

    def __call__(self, record: dict[str, Any]) -> None:
        if self._json:
            sys.stdout.write(('{"rows": [\n' if self._first else ",\n") + json.dumps(record))
        elif self._people:
            sys.stdout.write(_line(record) + "\n")
        else:
            head = ",".join(self._columns) + "\n" if self._first else ""
            sys.stdout.write(head + reporting.table.csv_line(record, self._columns))
        self._first = False

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._json:
            ending = "]}\n"
            if isinstance(error, AmissError):
                ending = f'], "error": {json.dumps(str(error))}}}\n'
                error.told = True
            sys.stdout.write(('{"rows": [' if self._first else "\n") + ending)


def _line(record: dict[str, Any]) -> str:
    if record["error"]:
        return printable(f"unreadable                        {record['name']}  ({record['error']})")
    verdict = "AMISS " if record["is_anomaly"] else "normal"
    note = f"  ({record['note']})" if record.get("note") else ""
    return printable(f"{verdict}  score {record['score']:8.4f}  p {record['p_value']:.4f}  {record['name']}{note}")


def _write_heatmap(model: FittedModel, row: Row, folder: Path) -> str:
    """Returns the file, its folder as it was given."""
    target = folder / environment.files.picture_name(row.item.name)
    reporting.heatmap.write_png(service.watching.annotated(model, row), target)
    return target.as_posix()


def _summary(
    counts: _Counts, table: ResultTable | None, again: int, model: FittedModel, out: Path | None, json_: bool, what: str
) -> None:
    people = console(json_mode=True)
    unreadable = f", {counts.errors} could not be read" if counts.errors else ""
    kept = 0 if table is None else table.done - again
    resumed = f" ({kept} more had been scored before)" if kept else ""
    if table is not None and table.changed:
        resumed += f" ({table.changed} of them again, because their files were changed)"
    if again:
        resumed += f" ({again} of them again, because they could not be read before)"
    people.print(
        f"[bold]{counts.anomalous} of {counts.total} {what} are amiss[/]{unreadable}{resumed}. "
        f"{plain(model.decision.explain())}"
    )
    if out is not None:
        people.print(f"Wrote {plain(out)}")
    if json_ and out is not None:
        print(
            json.dumps(
                {"out": str(out), "scored": counts.total, "anomalous": counts.anomalous, "errors": counts.errors}
            )
        )
