"""`amiss bench`: the papers' tables, run cell by cell and shown beside what the papers print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import bench, environment
from ..errors import AmissError, UsageError
from ..lazy import rich
from .console import Json, console, percent, plain, print_json

ORDER = 9
_HELP = """The papers' tables: run them on this machine, and see ours beside what is printed.

A table is made of cells, ROW/SET/CASE, such as adacl/mnist/3: one fit each. What is measured stays in a folder, and is
not measured again: stop at any time, and the same command goes on.
"""
_LIST = """List the tables, how much of each is measured, and which data it lacks.

\b
Examples:
  amiss bench list
  amiss bench list --work results/bench
"""
_RUN = """Run the cells of a table, and keep each result.

Cells whose data set is not here are told and left out; a cell that fails stops no other. Put a data set into a folder
that $AMISS_DATA names, and the same command runs its cells, too: see amiss data list.

\b
Examples:
  amiss bench run adacl-4.1 --seeds 0,1,2 --budget 20m
  amiss bench run alps-1 --cells 'alps/mnist/*' --cells 'knn/*'
  amiss bench run ravi-4.8 --epochs 300
  amiss bench run g2d-2 --smallest
"""
_SHOW = """Show a table: the paper's figures, ours with their interval over seeds, the difference, what was run shorter.

Prints Markdown; a cell that was not run says so.

\b
Examples:
  amiss bench show adacl-4.1
  amiss bench show adacl-4.1 --html adacl.html
"""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

Name = Annotated[str, typer.Argument(metavar="TABLE", help="See amiss bench list.", show_default=False)]
Work = Annotated[Path, typer.Option(help="Folder of the results.")]
_WORK = Path("amiss-bench")


def register(app: typer.Typer) -> None:
    verbs = typer.Typer(help=_HELP, no_args_is_help=True)
    verbs.command("list", help=_LIST)(list_)
    verbs.command("run", help=_RUN)(run)
    verbs.command("show", help=_SHOW)(show)
    app.add_typer(verbs, name="bench")


def list_(work: Work = _WORK, json_: Json = False) -> None:
    measured = {bench.results.key_of(record) for record in bench.results.read_results(work)}
    rows = [_facts(name, measured) for name in bench.table.table_names()]
    if json_:
        print_json(rows)
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for column in ("table", "what", "cells", "seed 0", "data missing"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row["name"], plain(row["title"]), str(row["cells"]), str(row["measured"]), ", ".join(row["missing"]) or "–"
        )
    people = console()
    people.print(table)
    people.print("Run one:  amiss bench run adacl-4.1 --budget 20m")


def run(
    name: Name,
    seeds: Annotated[str, typer.Option(help="Whole numbers with commas.")] = "0",
    budget: Annotated[
        str | None,
        typer.Option(help="Begin no further cell after this time, such as 90s, 20m or 6h.", show_default=False),
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option(help="Only cells that fit this: ROW/SET/CASE, with * (may be repeated).", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="In place of the table's own, for every cell.", min=1, show_default=False)
    ] = None,
    smallest: Annotated[
        bool, typer.Option("--smallest", help="Does every method run? A few images, one epoch; nothing is kept.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Measure cells that have a result, too, as after a change of the code.")
    ] = False,
    work: Work = _WORK,
    json_: Json = False,
) -> None:
    table = bench.table.read_table(name)
    people = console(json_)
    outcomes: Iterator[Any]
    if smallest:
        outcomes = (bench.run.try_cell(cell) for cell in bench.cells.smallest_cells(table))
    else:
        chosen = bench.cells.cells_of(table, _seeds(seeds), cells or (), epochs)
        outcomes = bench.run.run_cells(chosen, work, None if budget is None else _seconds(budget), again)
    told: list[dict[str, Any]] = []
    for outcome in outcomes:
        told.append(_told(outcome))
        if outcome.state in ("measured", "failed"):
            people.print(_line(outcome))
    counts = {state: sum(each["state"] == state for each in told) for state in ("measured", "kept", "failed")}
    people.print(f"{counts['measured']} measured, {counts['kept']} from before, {counts['failed']} failed")
    for reason in dict.fromkeys(each["reason"] for each in told if each["state"] in ("missing", "waiting")):
        people.print(f"[yellow]note[/]  {sum(each['reason'] == reason for each in told)} not run: {plain(reason)}")
    if json_:
        print_json(told)
    if counts["failed"]:
        error = AmissError(f"{counts['failed']} of {len(told)} cells of {name} failed; their reasons stand above")
        error.told = True
        raise error


def show(
    name: Name,
    html: Annotated[Path | None, typer.Option(help="Write the page as HTML, too.", show_default=False)] = None,
    work: Work = _WORK,
    json_: Json = False,
) -> None:
    summary = bench.summary.summarise(name, bench.table.read_table(name), bench.results.read_results(work))
    if html is not None:
        environment.files.write_text(html, bench.page.html(summary))
    if json_:
        print_json(bench.page.as_plain(summary))
    else:
        print(bench.page.markdown(summary), end="")
    if html is not None:
        console(True).print(f"Page: {plain(html)}")


def _facts(name: str, measured: set[str]) -> dict[str, Any]:
    table = bench.table.read_table(name)
    cells = bench.cells.cells_of(table)
    return {
        "name": name,
        "title": table.title,
        "paper": table.paper,
        "cells": len(cells),
        "measured": sum(cell.key in measured for cell in cells),
        "missing": sorted({cell.data for cell in cells if not cell.is_here}),
    }


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"--seeds must be whole numbers with commas, such as 0,1,2, but is {text!r}")
    return list(dict.fromkeys(int(part) for part in parts))


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--budget must be a number with s, m or h behind it, such as 20m, but is {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def _told(outcome: Any) -> dict[str, Any]:
    return {
        "cell": outcome.cell.name,
        "seed": outcome.cell.seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "figures": None if outcome.record is None else outcome.record["figures"],
    }


def _line(outcome: Any) -> str:
    name = f"{plain(outcome.cell.name)} seed {outcome.cell.seed}"
    if outcome.record is None:
        return f"[red]failed[/]  {name}: {plain(outcome.reason)}"
    figures = outcome.record["figures"]
    figure = f"AUROC {percent(figures['auroc'])}" if "auroc" in figures else f"{figures['parameters'] / 1e6:.2f} M"
    seconds = outcome.record.get("fit_seconds")
    return f"{name}: {figure}" + ("" if seconds is None else f", fitted in {seconds:.0f} s")
