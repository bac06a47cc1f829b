"""`amiss methods`: every method, its paper, what it needs and what it is good for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import Json, console, plain, print_json

ORDER = 7
_HELP = """List the methods, or show one with its settings.

\b
Examples:
  amiss methods
  amiss methods adacl
"""


def register(app: typer.Typer) -> None:
    app.command("methods", help=_HELP)(methods)


def methods(
    name: Annotated[str | None, typer.Argument(help="Show this method's settings.", show_default=False)] = None,
    json_: Json = False,
) -> None:
    from ..detectors import get_method, method_names

    names = [name] if name else list(method_names())
    rows = [_facts(each, get_method(each)) for each in names]
    if json_:
        print_json(rows)
    elif name is None:
        _print_list(rows)
    else:
        _print_one(rows[0], get_method(name))


def _facts(name: str, method: Any) -> dict[str, str]:
    keys = ("title", "paper", "family", "needs", "good_for")
    return {"name": name} | {key: getattr(method, key) for key in keys}


def _print_list(rows: list[dict[str, str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    people = console()
    width = max(len(row["name"]) for row in rows)
    for family in dict.fromkeys(row["family"] for row in rows):
        people.print(f"[bold]{plain(family)}[/]")
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=width)
        table.add_column(overflow="fold")
        for row in rows:
            if row["family"] == family:
                source = f"[dim]needs {plain(row['needs'])} · {plain(row['paper'])}[/]"
                table.add_row(plain(row["name"]), f"{plain(row['title'])}: {plain(row['good_for'])}\n{source}")
        people.print(Padding(table, (0, 0, 1, 2)))
    people.print("Settings of one:  amiss methods NAME")


def _print_one(row: dict[str, str], method: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ..detectors.settings import settings_of

    people = console()
    people.print(f"[bold]{row['name']}[/]  {row['title']}  ({row['paper']})")
    people.print(f"{row['family']}; needs {row['needs']}; good for {row['good_for']}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("--set", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for name, item in settings_of(method).items():
        choices = item.metadata["choices"]
        meaning = item.metadata["help"] + (f" [{', '.join(choices)}]" if choices else "")
        table.add_row(name, escape(str(item.default)), escape(meaning))
    people.print(table)
