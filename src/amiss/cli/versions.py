"""`amiss versions`: what is kept of a model that was taught, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import service
from .console import Json, Model, console, plain, print_json

ORDER = 5
_HELP = """List the versions of a model that are kept, or go back to the one before.

amiss teach keeps the older model, and the new one, in NAME.versions beside NAME.amiss where it writes over a model.
Going back keeps the present one there, too; amiss serve takes up either as any new file.

\b
Examples:
  amiss versions part.amiss
  amiss versions part.amiss --back
"""


def register(app: typer.Typer) -> None:
    app.command("versions", help=_HELP)(versions)


def versions(
    path: Model,
    back: Annotated[bool, typer.Option("--back", help="Put the version before the present one in its place.")] = False,
    json_: Json = False,
) -> None:
    people = console(json_)
    if back:
        found = service.versions.go_back(path)
        people.print(f"[bold]{plain(str(path))}[/] is version {found.number} again ({found.digest[:12]})")
    present = service.versions.digest(path)
    kept = service.versions.versions(path)
    if json_:
        print_json([
            {"number": each.number, "file": str(each.path), "version": each.digest[:12], "left": each.left,
             "present": each.digest == present}
            for each in kept
        ])  # fmt: skip
        return
    if not kept:
        people.print(f"Nothing is kept of {plain(str(path))}: amiss teach keeps versions where it writes over a model.")
    for each in kept:
        marks = "  [bold]present[/]" * (each.digest == present) + "  gone back from" * each.left
        people.print(f"{each.number:>4}  {each.digest[:12]}  {plain(str(each.path))}{marks}")
