"""`amiss explain`: why images have their scores, and where."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from .. import data, environment, registry, report
from .. import explain as explaining
from ..errors import AmissError, WriteError
from .console import (
    MOST_PIXELS,
    Engine,
    Json,
    MaxPixels,
    Model,
    Overwrite,
    Strict,
    console,
    plain,
    print_json,
    progress_bar,
    settings,
)

if TYPE_CHECKING:
    from ..explain.images import Explained
    from ..model import FittedModel

ORDER = 5
_RECORDS = "explanations.jsonl"
_HELP = """Explain scores: where the reason sits, and what would become of the score if it looked as expected.

\b
Explainers:
  residual        the method's own map; one pass
  difference      from what is expected there; does not ask the score: the baseline
  occlusion       what the score loses when a window looks as expected
  counterfactual  the smallest rectangle that would have to look as expected
  shap, lime      what parts of the image add to the score (slower)
  lrp             the score passed back layer by layer (needs torch)

\b
Examples:
  amiss explain part.amiss parts/new/7.png --with residual
  amiss explain part.amiss parts/new --with counterfactual --out why --most 10
  amiss explain part.amiss parts/new/7.png --with shap --set segments=80

How far they can be trusted: amiss eval part.amiss parts/labelled --explain all
"""


def register(app: typer.Typer) -> None:
    app.command("explain", help=_HELP)(explain)


def explain(
    path: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Images.", show_default=False)],
    with_: Annotated[str, typer.Option("--with", help="The explainer.")] = "occlusion",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the explainer; repeatable.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(help="Explain only so many images, the strangest; 0: all.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and explanations.jsonl, of this run alone.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
    max_pixels: MaxPixels = MOST_PIXELS,
    engine: Engine = "auto",
    json_: Json = False,
) -> None:
    kind = explaining.get_explainer(with_)
    explainer = kind(**settings.parse_settings(kind, set_ or []))
    model = registry.load(path, engine)
    collection = data.open_images(inputs, "score")
    explainer.check(model)
    records: list[dict[str, Any]] = []
    people = console(json_)
    with _lines(out, overwrite) as lines, progress_bar() as progress:
        for found in explaining.images.explain_collection(
            model, collection, explainer, most=most, total=len(collection), progress=progress
        ):
            records.append(_record(found))
            if out is not None and found.explanation is not None:
                records[-1]["picture"] = _write_picture(model, found, out)
            lines.write(json.dumps(records[-1]) + "\n")
            lines.flush()  # what has been found stays, whatever happens
            if not json_:
                people.print(_line(records[-1]))
    for note in collection.notes:
        people.print(f"[yellow]note[/]  {plain(note)}")
    if out is not None:
        people.print(f"Wrote {plain(out)}")
    if json_:
        print_json({"explainer": with_, "limits": kind.limits, "explanations": records})
    else:
        filled = sorted({record["filled"] for record in records if not record["error"]})
        stands_in = f"; as expected: {', '.join(filled)}" if filled else ""
        people.print(f"[dim]{kind.title}; known limits: {kind.limits}{stands_in}[/]")
    errors = sum(record["error"] is not None for record in records)
    if errors and (strict or errors == len(records)):
        raise typer.Exit(1)


@contextlib.contextmanager
def _lines(folder: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """What takes a line for every explanation; the file has its name only once it is whole."""
    if folder is None:
        yield io.StringIO()
        return
    path = folder / _RECORDS
    partial = folder / f"{_RECORDS}.partial"
    try:
        with environment.outputs.run_folder(folder, overwrite=overwrite, is_ours=_is_ours) as earlier:
            for each in earlier:
                each.unlink()
            with partial.open("w", encoding="utf-8") as file:
                yield file
            partial.replace(path)
    except OSError as error:
        if isinstance(error, AmissError):  # says it better
            raise
        raise WriteError(f"{path} cannot be written: {error.strerror}; make room, or give another --out") from error


def _is_ours(name: str) -> bool:
    return name in (_RECORDS, f"{_RECORDS}.partial") or environment.files.is_picture_name(name)


def _record(found: Explained) -> dict[str, Any]:
    if found.explanation is None:
        return {"name": found.item.name, "error": found.error}
    return found.explanation.as_record() | {"error": None}


def _line(record: dict[str, Any]) -> str:
    if record["error"]:
        return f"{plain(record['name'])}: unreadable ({plain(record['error'])})"
    notes = "".join(f"\n  [dim]{plain(note)}[/]" for note in record["notes"])
    return f"[bold]{plain(record['name'])}[/]: {plain(record['words'])}{notes}"


def _write_picture(model: FittedModel, found: Explained, folder: Path) -> str:
    assert found.explanation is not None
    assert found.picture is not None
    name = environment.files.picture_name(found.item.name)
    picture = report.explained.explained_picture(found.explanation, found.picture, model.preprocessing)
    report.heatmap.write_png(picture, folder / name)
    return name
