"""`amiss export`: a model as one file for other runtimes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .. import service
from ..errors import UsageError
from .console import (
    MOST_PIXELS,
    FalseAlarmRate,
    Json,
    MaxPixels,
    Model,
    console,
    load_model,
    plain,
    print_json,
    progress_bar,
)

ORDER = 6
_HELP = """Write a model as one graph for other runtimes.

It takes pictures of any size as they are and gives score, p-value, decision and map; a page with code in Python, C++
and JavaScript lies beside it.

\b
Examples:
  amiss export part.amiss --out part-onnx
  amiss export part.amiss --to openvino --out part-openvino
  amiss export part.amiss --int8 --images parts/more-good --out part-int8
"""


def register(app: typer.Typer) -> None:
    app.command("export", help=_HELP)(export)


def export(
    path: Model,
    out: Annotated[Path, typer.Option(help="Folder to write; is made where it is missing.", show_default=False)],
    to: Annotated[str, typer.Option(help="onnx or openvino.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Convolutions in 8 bits (with --images).")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Normal images not learnt from, which set the threshold of --int8.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export, and README.md, in the folder.")
    ] = False,
    false_alarm_rate: FalseAlarmRate = None,
    max_pixels: MaxPixels = MOST_PIXELS,
    json_: Json = False,
) -> None:
    if int8 != bool(images):
        raise UsageError(
            "--int8 and --images go together: 8 bits take normal images that the model has not learnt from"
        )
    model = load_model(path, "onnxruntime", false_alarm_rate)
    with progress_bar() as progress:
        exported = service.exporting.export_model(model, out, to, images or None, progress, overwrite)
    people, cost = console(json_), exported.cost
    people.print(f"Wrote [bold]{'[/], [bold]'.join(plain(file) for file in exported.files)}[/]")
    if cost is not None:
        people.print(plain(cost.explain()))
    people.print(plain(exported.model.decision.explain()))
    if json_:
        print_json(
            {
                "files": [str(file) for file in exported.files],
                "threshold": exported.model.decision.threshold,
                "int8": None if cost is None else dataclasses.asdict(cost),
            }
        )
