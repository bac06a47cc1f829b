"""`amiss teach`: correct a model in service with images it got wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import environment, registry, service
from ..errors import UsageError
from ..lazy import rich
from .console import MOST_PIXELS, Json, MaxPixels, Model, console, number, percent, plain, print_json, progress_bar

if TYPE_CHECKING:
    from ..data import Images
    from ..service.teaching import Figures

ORDER = 5
_HELP = """Correct a model with images it got wrong, and recalibrate it.

It learns to paint the normal images well and the anomalous ones badly; give a few hundred normal ones if you can, or it
forgets what normal looks like. Three in ten are kept aside to show what that does to images it has not learnt from.
The calibration images that the model file names are needed again; where they have moved, or are gone, give them or
others with --calibrate.

With --from, it learns from what people said in the history of amiss serve (started with --store and --keep-images).
Where --out exists, the older model is kept in NAME.versions beside it; amiss versions lists them, and goes back.

\b
Examples:
  amiss teach part.amiss --normal alarms/false --anomalous alarms/missed --out part-2.amiss
  amiss teach part.amiss --normal good --anomalous bad --calibrate parts/good --out part.amiss
  amiss teach part.amiss --from history.db --out part.amiss
"""


def register(app: typer.Typer) -> None:
    app.command("teach", help=_HELP)(teach)


def teach(
    path: Model,
    out: Annotated[Path, typer.Option(help="Model file to write; may be the same.", show_default=False)],
    normal: Annotated[
        list[str] | None, typer.Option(help="Images that are normal; repeatable.", show_default=False)
    ] = None,
    anomalous: Annotated[
        list[str] | None, typer.Option(help="Images that are anomalous; repeatable.", show_default=False)
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="History of amiss serve, a file or a URL, whose feedback is learnt.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the model in that history; else the file's, without .amiss.", show_default=False),
    ] = None,
    calibrate: Annotated[
        list[str] | None, typer.Option(help="Normal images to recalibrate with; repeatable.", show_default=False)
    ] = None,
    form: Annotated[str, typer.Option(help="Of the negative term: bounded, plain, weighted, repeated.")] = "bounded",
    epochs: Annotated[int, typer.Option(help="Passes through the normal images.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of the optimizer.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Chooses what is kept aside.")] = 0,
    max_pixels: MaxPixels = MOST_PIXELS,
    json_: Json = False,
) -> None:
    with environment.outputs.only_writer(out), progress_bar() as progress:  # the model too may be this file
        model = registry.load(path)
        good, bad, notes = _images(path, normal, anomalous, from_, name)
        lesson = service.teaching.teach(
            model,
            good,
            bad,
            calibrate=calibrate,
            form=form,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            progress=progress,
        )
        older = service.versions.replace(out, lesson.model.save)
    people = console(json_)
    for note in [*notes, *lesson.model.record.notes[len(model.record.notes) :]]:
        people.print(f"[yellow]note[/]  {plain(note)}")
    record, what = lesson.record, "frames" if model.learnt_from_video else "images"
    people.print(
        f"Taught [bold]{plain(str(path))}[/] with {record.normal} normal and {record.anomalous} anomalous "
        f"{what}; {record.kept_aside} others kept aside:"
    )
    people.print(_table(lesson.before, lesson.after, what))
    people.print(plain(lesson.model.decision.explain()))
    people.print(f"Wrote [bold]{plain(str(out))}[/]")
    if older is not None:
        people.print(
            f"The older model is kept as {plain(str(older))}; to go back: amiss versions {plain(str(out))} --back"
        )
    if json_:
        kept = None if older is None else str(older)
        facts = {**record.model_dump(), "threshold": lesson.model.decision.threshold}
        print_json({"model": str(out), "older": kept, "notes": notes, **facts})


def _images(
    path: Path, normal: list[str] | None, anomalous: list[str] | None, store: str | None, name: str | None
) -> tuple[Images, Images, list[str]]:
    """Normal and anomalous images, and sentences on them."""
    if store is None:
        if not normal or not anomalous:
            raise UsageError("give --normal and --anomalous images, or --from the history of amiss serve")
        return normal, anomalous, []
    if normal or anomalous:
        raise UsageError("give --from, or --normal and --anomalous, but not both")
    environment.versions.require("serve", "reading a history", "sqlalchemy", "alembic")
    said, notes = service.web.feedback.said_of(store, name or path.stem)
    return said.normal, said.anomalous, notes


def _table(before: Figures, after: Figures, what: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False)
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    for key, title, form in (
        ("auroc", "AUROC", number),
        ("false_alarms", f"normal {what} flagged", percent),
        ("missed", "anomalies missed", percent),
    ):
        values = [getattr(figures, key) for figures in (before, after)]
        table.add_row(title, *("–" if value is None else form(value) for value in values))
    return table
