"""`amiss data`: the known data sets, and getting them."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import Json, console, print_json, progress_bar

ORDER = 7
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
    data = typer.Typer(help=_HELP, no_args_is_help=True)
    data.command("list", help=_LIST)(list_)
    data.command("get", help=_GET)(get)
    app.add_typer(data, name="data")


def list_(json_: Json = False) -> None:
    raise NotImplementedError


def get(name: Annotated[str, typer.Argument(help="Name of the data set.")], json_: Json = False) -> None:
    raise NotImplementedError
