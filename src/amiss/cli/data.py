"""`amiss data`: the known data sets, and getting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from .. import data
from ..errors import UsageError
from ..lazy import rich
from .console import Json, console, print_json, progress_bar

ORDER = 8
#: Splits and classes that are listed; more would hide the others.
_LISTED = 10
_HELP = """Known data sets: which are here, and how to get the others."""
_LIST = """List the known data sets and where each was found.

\b
Example:
  amiss data list
"""
_GET = """Download a known data set from its official address and check it.

\b
Example:
  amiss data get mnist
"""


def register(app: typer.Typer) -> None:
    verbs = typer.Typer(help=_HELP, no_args_is_help=True)
    verbs.command("list", help=_LIST)(list_)
    verbs.command("get", help=_GET)(get)
    app.add_typer(verbs, name="data")


def list_(json_: Json = False) -> None:
    sets = data.known_sets().values()
    if json_:
        keys = ("name", "title", "source", "licence")
        print_json(
            [
                {key: getattr(known, key) for key in keys}
                | {"splits": list(known.splits), "classes": list(known.classes), "found": known.locate() is not None}
                for known in sets
            ]
        )
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "splits", "classes", "where"):
        table.add_column(column, overflow="fold")
    for known in sets:
        table.add_row(known.name, _few(known.splits), _few(known.classes), rich.markup.escape(known.status()))
    console().print(table)
    console().print("Use one:  amiss fit fashion-mnist:train:normal=3 --out dress.amiss")


def _few(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def get(name: Annotated[str, typer.Argument(help="Name of the data set.")], json_: Json = False) -> None:
    known = data.known_sets().get(name)
    if known is None:
        raise UsageError(f"there is no known data set {name!r}; there are: {', '.join(data.known_sets())}")
    with progress_bar() as progress:
        folder = known.get(progress=lambda done, total: progress(f"Fetching {name}", done, total or done, "bytes"))
    console(json_).print(f"{name} is in {folder}, whole and checked.")
    if json_:
        print_json({"name": name, "folder": str(folder)})
