"""A table beside what was measured: printed figures, ours over seeds, their difference, and what was run shorter."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ..data import known_sets
from .cells import cells_of
from .results import IDENTITY, Record
from .table import MEAN, DataSet, Measure, Row, Table, figure_of, is_printed, measure_of

#: The mean of the cases on which nothing was chosen.
OTHERS = "mean of the others"
#: 97.5 % points of Student's t with 1, 2, ... degrees of freedom; beyond, the last, which is a little too careful.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Figure:
    """One figure of a row, in the unit that is shown (% as a rule).

    Attributes:
        printed: by the paper; None where it prints nothing.
        values: ours, one a seed; empty where it was not measured.
    """

    printed: float | None = None
    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        """Of our values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def half_width(self) -> float | None:
        """Of the 95 % interval of the mean over seeds (Student's t); None for fewer than two seeds.

        >>> round(Figure(values=(1.0, 2.0, 3.0)).half_width, 3)
        2.484
        """
        count = len(self.values)
        if count < 2:
            return None
        return _STUDENT[min(count - 1, len(_STUDENT)) - 1] * statistics.stdev(self.values) / math.sqrt(count)

    @property
    def difference(self) -> float | None:
        """Ours less the printed one."""
        return None if self.mean is None or self.printed is None else self.mean - self.printed


@dataclass(frozen=True)
class RowSummary:
    """A row on one set.

    Attributes:
        name, note: of the row.
        figures: by column.
        seeds: how many at most stand behind a figure.
        epochs: at most so many in our runs; None where there are none, or nothing was run.
        paper_epochs: of the paper.
        fit_seconds: the median; None where no run tells.
        peak_mb: the largest.
        state: why there is no figure of ours; "" where there is one.
    """

    name: str
    note: str
    figures: dict[str, Figure]
    seeds: int
    epochs: int | None
    paper_epochs: int | None
    fit_seconds: float | None
    peak_mb: int | None
    state: str

    @property
    def shorter(self) -> float | None:
        """The share of the paper's epochs that ours are, where they are fewer."""
        if self.epochs is None or self.paper_epochs is None or self.epochs >= self.paper_epochs:
            return None
        return self.epochs / self.paper_epochs


@dataclass(frozen=True)
class SetSummary:
    """A data set of a table: its columns, and how they are shown, and its rows."""

    name: str
    dataset: DataSet
    columns: dict[str, Measure]
    rows: list[RowSummary]


@dataclass(frozen=True)
class Summary:
    """A table beside what was measured; `records` are the results that stand in it."""

    name: str
    table: Table
    sets: list[SetSummary]
    records: list[Record]


def summarise(name: str, table: Table, records: Sequence[Record], here: Set[str] | None = None) -> Summary:
    """Put a table beside results; of a row that was run with different numbers of epochs, the fullest one counts, and
    of equally full ones the longest.

    Args:
        name: of the table.
        table: see `read_table`.
        records: of any tables; see `read_results`.
        here: names of the data sets that are on this machine; None: look.
    """
    if here is None:
        here = {data for data in {each.data for each in table.sets.values()} if data and _is_here(data)}
    by_row: dict[str, list[Record]] = {}
    for record in records:
        by_row.setdefault(_row_key(record), []).append(record)
    used: dict[str, Record] = {}
    sets = []
    for key, dataset in table.sets.items():
        rows = []
        for row_key, row in table.all_rows().items():
            if (row.sets and key not in row.sets) or (row.method is None and key not in row.printed):
                continue
            mine: list[Record] = []
            if row.method is not None:
                (cell, *_) = cells_of(table, patterns=[f"{row_key}/{key}"])
                mine = _fullest(by_row.get(_row_key(cell.identity), []), dataset)
                used |= {json.dumps(record, sort_keys=True): record for record in mine}
            rows.append(_row_summary(row, key, dataset, mine, here))
        sets.append(SetSummary(key, dataset, _columns(dataset), rows))
    return Summary(name, table, sets, list(used.values()))


def _row_key(identity: Mapping[str, object]) -> str:
    """What all cells of a row on one set share."""
    return json.dumps(
        {name: identity[name] for name in IDENTITY if name not in ("case", "epochs", "seed")}, sort_keys=True
    )


def _fullest(records: Sequence[Record], dataset: DataSet) -> list[Record]:
    groups: dict[int, list[Record]] = {}
    for record in records:
        if record["case"] in dataset.cases:
            groups.setdefault(record["epochs"] or 0, []).append(record)
    return max(groups.items(), key=lambda group: (len(group[1]), group[0]), default=(0, []))[1]


def _columns(dataset: DataSet) -> dict[str, Measure]:
    if len(dataset.cases) == 1:
        return {name: measure_of(name) for name in dataset.measures}
    measure = measure_of(dataset.measures[0])
    names = (*dataset.columns, OTHERS) if dataset.choosing else dataset.columns
    return {name: replace(measure, title=name) for name in names}


def _row_summary(row: Row, key: str, dataset: DataSet, records: Sequence[Record], here: Set[str]) -> RowSummary:
    printed = {
        column: value
        for column, value in zip(dataset.columns, row.printed.get(key, ()), strict=False)
        if is_printed(value)
    }
    if len(dataset.cases) == 1:
        values = {name: _by_seed(records, row, name) for name in dataset.measures}
        figures = {name: Figure(printed.get(name), tuple(values[name].values())) for name in dataset.measures}
    else:
        figures = _figures_of_cases(row, dataset, records, printed)
    ran = [most for record in records if (most := max(record.get("epochs_run") or [1])) > 1]  # 1: fitted in one step
    seconds = [record["fit_seconds"] for record in records if record.get("fit_seconds") is not None]
    peaks = [record["peak_mb"] for record in records if record.get("peak_mb") is not None]
    return RowSummary(
        row.name,
        row.note,
        figures,
        max((len(figure.values) for figure in figures.values()), default=0),
        (records[0]["epochs"] if records else None) or max(ran, default=None),
        row.paper_epochs_on(key),
        statistics.median(seconds) if seconds else None,
        max(peaks, default=None),
        _state(row, dataset, figures, here),
    )


def _figures_of_cases(
    row: Row, dataset: DataSet, records: Sequence[Record], printed: Mapping[str, float]
) -> dict[str, Figure]:
    measure = dataset.measures[0]
    by_case = {
        case: _by_seed([record for record in records if record["case"] == case], row, measure) for case in dataset.cases
    }
    figures = {case: Figure(printed.get(case), tuple(values.values())) for case, values in by_case.items()}
    figures[MEAN] = Figure(printed.get(MEAN), _means(by_case, dataset.cases))
    if dataset.choosing:
        others = [case for case in dataset.cases if case not in dataset.choosing]
        there = [printed[case] for case in others if case in printed]
        mean = round(statistics.fmean(there), 2) if len(there) == len(others) else None
        figures[OTHERS] = Figure(mean, _means(by_case, others))
    return figures


def _by_seed(records: Sequence[Record], row: Row, measure: str) -> dict[int, float]:
    name, unit = figure_of(row, measure), measure_of(measure).unit
    found = {record["seed"]: record["figures"].get(name) for record in records}
    return {seed: unit * found[seed] for seed in sorted(found) if found[seed] is not None}


def _means(by_case: Mapping[str, Mapping[int, float]], cases: Sequence[str]) -> tuple[float, ...]:
    """The mean over cases for each seed that has them all."""
    seeds = set.intersection(*(set(by_case[case]) for case in cases))
    return tuple(statistics.fmean([by_case[case][seed] for case in cases]) for seed in sorted(seeds))


def _state(row: Row, dataset: DataSet, figures: Mapping[str, Figure], here: Set[str]) -> str:
    if row.method is None:
        return "amiss has no such method"
    if any(figure.values for figure in figures.values()):
        return ""
    return f"not run: {dataset.data} is not here" if dataset.data and dataset.data not in here else "not run"


def _is_here(data: str) -> bool:
    return known_sets()[data].locate() is not None
