"""`amiss info`: what a model file holds."""

from __future__ import annotations

from typing import Any

import typer

from .console import Json, Model, console, percent, print_json

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


def info(model: Model, json_: Json = False) -> None:
    from ..model_file import load, read_manifest

    detector = load(model)  # checks every part
    manifest = read_manifest(model)
    if json_:
        print_json(manifest)
        return
    _print(console(), manifest, detector.decision_.explain())


def _print(people: Any, manifest: dict[str, Any], promise: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    size = manifest["preprocessing"]
    splits = manifest["splits"]
    stages = manifest["training"]["stages"]
    rows = {
        "method": manifest["method"],
        "learnt from": f"{splits['source']} ({splits['train']['count']} train, {splits['stop']['count']} stop, "
        f"{splits['calibrate']['count']} calibrate)",
        "input": f"{size['colour']}, {size['height']}x{size['width']} pixels",
        "training": "; ".join(
            f"{stage['stage']}: epoch {stage['chosen_epoch']} of {stage['epochs']} chosen, {stage['seconds']:.0f} s"
            for stage in stages
        )
        + f", {manifest['training']['precision']} on {manifest['training']['device']}",
        "false-alarm rate": f"{percent(manifest['false_alarm_rate'])}. {promise}",
        "engines": ", ".join(
            f"{name} ({len(scores)} calibration scores)" for name, scores in manifest["calibration"].items()
        ),
        "settings": ", ".join(f"{name}={value}" for name, value in manifest["settings"].items()),
        "fitted": f"{manifest['fitted_on']} with " + ", ".join(f"{k} {v}" for k, v in manifest["versions"].items()),
        "integrity": "weights, graph and reference images match their SHA-256; the manifest is not signed",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    for lesson in manifest["lessons"]:
        table.add_row(
            "1 lesson", f"{lesson['date']}: {lesson['normal']} normal and {lesson['anomalous']} anomalous images"
        )
    for note in manifest["notes"]:
        table.add_row("note", escape(note))
    people.print(table)
