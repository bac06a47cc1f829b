"""`amiss methods`: every method, its paper, what it needs and what it is good for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import registry
from ..lazy import rich
from .console import Json, console, plain, print_json, settings

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
    names = [name] if name else list(registry.method_names())
    rows = [_facts(each, registry.get_method(each)) for each in names]
    if json_:
        print_json(rows)
    elif name is None:
        _print_list(rows)
    else:
        _print_one(rows[0], registry.get_method(name))


def _facts(name: str, method: Any) -> dict[str, str]:
    keys = ("title", "paper", "family", "needs", "good_for")
    return {"name": name} | {key: getattr(method, key) for key in keys}


def _print_list(rows: list[dict[str, str]]) -> None:
    people = console()
    width = max(len(row["name"]) for row in rows)
    for family in dict.fromkeys(row["family"] for row in rows):
        people.print(f"[bold]{plain(family)}[/]")
        table = rich.table.Table.grid(padding=(0, 2))
        table.add_column(min_width=width)
        table.add_column(overflow="fold")
        for row in rows:
            if row["family"] == family:
                source = f"[dim]needs {plain(row['needs'])} · {plain(row['paper'])}[/]"
                table.add_row(plain(row["name"]), f"{plain(row['title'])}: {plain(row['good_for'])}\n{source}")
        people.print(rich.padding.Padding(table, (0, 0, 1, 2)))
    people.print("Settings of one:  amiss methods NAME")


def _print_one(row: dict[str, str], method: Any) -> None:
    people = console()
    people.print(f"[bold]{row['name']}[/]  {row['title']}  ({row['paper']})")
    people.print(f"{row['family']}; needs {row['needs']}; good for {row['good_for']}")
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in ("--set", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for name, item in settings.settings_of(method).items():
        facts = settings.facts_of(item)
        choices = ", ".join(facts.kind.text(choice) for choice in facts.choices or ())
        meaning = facts.help + (f" [{choices}]" if choices else "")
        table.add_row(name, rich.markup.escape(facts.kind.text(item.default)), rich.markup.escape(meaning))
    people.print(table)
