"""A table beside what was measured, as Markdown and as one HTML page."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from .summary import Figure, RowSummary, SetSummary, Summary

_NONE = "–"


def markdown(summary: Summary) -> str:
    """The page as Markdown: a table for each set, of each row a line for the paper, for us, and for the difference."""
    text = [f"# {summary.table.title}", ""]
    if summary.table.paper:
        text += [
            f"{summary.table.paper}. The paper: {summary.table.paper_protocol}",
            "",
            f"Ours: {summary.table.protocol}",
            "",
        ]
    else:
        text += [f"A table of ours. {summary.table.protocol}", ""]
    for each in summary.sets:
        text += [f"## {_heading(each)}", "", *(line for each_line in _sentences(each) for line in (each_line, ""))]
        head = [
            "",
            "",
            *(measure.title for measure in each.columns.values()),
            "seeds",
            "epochs",
            "fit, s",
            "memory, MB",
        ]
        text += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for row in each.rows:
            text += ["| " + " | ".join(line) + " |" for line in _lines(row, each)]
        text.append("")
    for note, names in _notes(summary).items():
        text += [f"*{', '.join(names)}*: {note}", ""]
    return "\n".join([*text, *_made(summary)]) + "\n"


def html(summary: Summary) -> str:
    """The same page as HTML, without scripts, for any browser."""
    sets = [
        {
            "heading": _heading(each),
            "sentences": _sentences(each),
            "columns": [measure.title for measure in each.columns.values()],
            "rows": [(row, _lines(row, each)) for row in each.rows],
        }
        for each in summary.sets
    ]
    return _template().render(table=summary.table, sets=sets, made=_made(summary))


def as_plain(summary: Summary) -> dict[str, Any]:
    """The same as plain values, as `amiss bench show --json` prints them."""
    return {
        "name": summary.name,
        "title": summary.table.title,
        "paper": summary.table.paper,
        "sets": {
            each.name: {
                "choosing": list(each.dataset.choosing),
                "rows": [
                    {
                        "name": row.name,
                        "state": row.state,
                        "seeds": row.seeds,
                        "epochs": row.epochs,
                        "paper_epochs": row.paper_epochs,
                        "shorter": row.shorter,
                        "fit_seconds": row.fit_seconds,
                        "peak_mb": row.peak_mb,
                        "figures": {
                            column: {
                                "printed": figure.printed,
                                "mean": figure.mean,
                                "half_width": figure.half_width,
                                "seeds": len(figure.values),
                                "difference": figure.difference,
                            }
                            for column, figure in row.figures.items()
                        },
                    }
                    for row in each.rows
                ],
            }
            for each in summary.sets
        },
    }


@cache
def _template() -> Template:
    source = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )


def _notes(summary: Summary) -> dict[str, list[str]]:
    """Each note once, with the rows that it is of."""
    notes: dict[str, dict[str, None]] = {}
    for row in (row for each in summary.sets for row in each.rows if row.note):
        notes.setdefault(row.note, {})[row.name] = None
    return {note: list(names) for note, names in notes.items()}


def _heading(each: SetSummary) -> str:
    return (
        each.name if each.name == each.dataset.data or not each.dataset.data else f"{each.name} ({each.dataset.data})"
    )


def _sentences(each: SetSummary) -> list[str]:
    if not each.dataset.choosing:
        return []
    chosen = ", ".join(each.dataset.choosing)
    return [f"Settings may be chosen on {chosen}, and on nothing else of this set."]


def _lines(row: RowSummary, of: SetSummary) -> list[list[str]]:
    """The row's lines: what the paper prints, ours, and the difference, as far as there are any."""
    figures = list(row.figures.values())
    digits = [measure.digits for measure in of.columns.values()]
    printed = any(figure.printed is not None for figure in figures)
    lines = []
    if printed:
        paper_epochs = str(row.paper_epochs or "")
        lines.append([row.name, "paper", *(_printed(figure.printed) for figure in figures), "", paper_epochs, "", ""])
    if not row.state:
        ours = [_ours(*each, row.seeds) for each in zip(figures, digits, strict=True)]
        lines.append(["" if printed else row.name, "ours", *ours, str(row.seeds), _epochs(row), *_cost(row)])
        if printed:
            apart = [_apart(*each) for each in zip(figures, digits, strict=True)]
            lines.append(["", "difference", *apart, "", "", "", ""])
    elif row.state.startswith("not run"):
        lines.append(["" if printed else row.name, row.state, *([_NONE] * len(figures)), "", "", "", ""])
    return lines


def _printed(value: float | None) -> str:
    """As the paper has it, as near as a number without its zeros can be."""
    return _NONE if value is None else f"{value:.6g}"


def _ours(figure: Figure, digits: int, seeds: int) -> str:
    if figure.mean is None:
        return _NONE
    interval = "" if figure.half_width is None else f" ± {figure.half_width:.{digits}f}"
    fewer = "" if len(figure.values) == seeds else f" ({len(figure.values)})"
    return f"{figure.mean:.{digits}f}{interval}{fewer}"


def _apart(figure: Figure, digits: int) -> str:
    return _NONE if figure.difference is None else f"{figure.difference:+.{digits}f}"


def _epochs(row: RowSummary) -> str:
    if row.epochs is None:
        return ""
    return (
        str(row.epochs) if row.shorter is None else f"{row.epochs}, which is {100 * row.shorter:.2g} % of the paper's"
    )


def _cost(row: RowSummary) -> list[str]:
    seconds = _NONE if row.fit_seconds is None else f"{row.fit_seconds:.0f}"
    return [seconds, _NONE if row.peak_mb is None else str(row.peak_mb)]


def _made(summary: Summary) -> list[str]:
    """How and where the figures were made."""
    if not summary.records:
        return ["Nothing of this table has been run."]
    machines = sorted({record["machine"] for record in summary.records})
    commits = sorted({record.get("commit") or "unknown" for record in summary.records})
    commands = sorted({record["command"] for record in summary.records})
    return [
        "± is half the 95 % interval of the mean over seeds, or as many as stand in brackets. Epochs are the "
        "most that were allowed.",
        "",
        f"{len(summary.records)} fits, at commits {', '.join(commits)}; on {'; '.join(machines)}. Commands:",
        "",
        *(f"    {command}" for command in commands),
    ]
