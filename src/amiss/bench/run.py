"""Running the cells of a table one after the other: what is measured is not measured again, and stays."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..environment import versions
from ..environment.machine import cpu_name
from ..errors import AmissError, MissingDataError
from . import protocols
from .cells import Cell
from .results import adding_results, key_of, read_results


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: which.
        state: `measured` now, `kept` from before, `missing` data, `failed`, or `waiting` behind the budget.
        record: its result, where there is one.
        reason: a sentence, where there is none.
    """

    cell: Cell
    state: Literal["measured", "kept", "missing", "failed", "waiting"]
    record: dict[str, Any] | None = None
    reason: str = ""


def run_cells(cells: Sequence[Cell], work: Path, budget: float | None = None, again: bool = False) -> Iterator[Outcome]:
    """Measure cells and keep each result in `work`; one that cannot be measured stops no other.

    Args:
        cells: see `amiss.bench.cells.cells_of`.
        work: folder of the results.
        budget: seconds after which no further cell is begun; one that has begun is finished.
        again: measure those that have a result, too; of two results of a cell the later one counts.

    Raises:
        WriteError: another run is adding to the folder, or it cannot be written.
        DataError: it holds what is no result.
    """
    end = None if budget is None else time.monotonic() + budget
    with adding_results(work) as file:
        done = {key_of(record): record for record in read_results(work)}
        for cell in cells:
            if cell.key in done and not again:
                yield Outcome(cell, "kept", done[cell.key])
            elif end is not None and time.monotonic() >= end:
                yield Outcome(cell, "waiting", reason="the budget is spent; the same command goes on")
            else:
                outcome = try_cell(cell)
                if outcome.record is not None:
                    file.add(outcome.record)
                yield outcome


def try_cell(cell: Cell) -> Outcome:
    """Measure a cell, with where and by what it was measured; nothing is kept."""
    if not cell.is_here:
        return Outcome(cell, "missing", reason=f"{cell.data} is not here; see amiss data list")
    try:
        measured = protocols.measure(cell)
    except MissingDataError as error:
        return Outcome(cell, "missing", reason=str(error))
    except AmissError as error:
        return Outcome(cell, "failed", reason=str(error))
    except Exception as error:  # whatever a method or its libraries raise, the other cells go on
        return Outcome(cell, "failed", reason=f"{type(error).__name__}: {error}")
    made = {
        "amiss": __version__,
        "commit": versions.commit(),
        "versions": versions.installed(),
        "machine": cpu_name(),
        "command": " ".join(["amiss", *sys.argv[1:]]),
    }
    return Outcome(cell, "measured", cell.identity | measured | made)
