"""Results stay, whatever happens to the run; a page is what its results say, and pages in results/ are of today's."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from amiss.bench import protocols
from amiss.bench.cells import Cell, cells_of
from amiss.bench.page import as_plain, html, markdown
from amiss.bench.results import FILE, adding_results, key_of, read_results
from amiss.bench.run import run_cells
from amiss.bench.summary import OTHERS, Figure, summarise
from amiss.bench.table import read_table, table_names
from amiss.errors import DataError, TrainingError, WriteError

KEPT = Path(__file__).parents[2] / "results" / "bench"
#: The data sets of the machine on which the pages in results/ were written.
HERE = {"mnist", "fashion-mnist", "cifar-10", "ucsd-ped2", "magnetic-tile"}


def result(cell: Cell, **figures: float) -> dict[str, Any]:
    made = {"machine": "m", "commit": "c", "command": "k", "epochs_run": [cell.epochs or 1], "fit_seconds": 1.0}
    return cell.identity | {"figures": figures} | made


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells are measured at once, all sets are here; returns the names of those measured."""
    measured: list[str] = []

    def measure(cell: Cell) -> dict[str, Any]:
        measured.append(f"{cell.name} {cell.seed}")
        if cell.case == "4":
            raise TrainingError("the loss is not finite; lower learning_rate")
        return {"figures": {"auroc": 0.9}, "epochs_run": [2]}

    monkeypatch.setattr(protocols, "measure", measure)
    monkeypatch.setattr(Cell, "is_here", True)
    return measured


def test_a_run_goes_on_and_a_failed_cell_stops_no_other(tmp_path: Path, pretended: list[str]) -> None:
    cells = cells_of(read_table("adacl-4.1"), patterns=["adacl/mnist"])
    states = [outcome.state for outcome in run_cells(cells[:3], tmp_path)]
    assert states == ["measured"] * 3
    outcomes = list(run_cells(cells, tmp_path))
    assert [outcome.state for outcome in outcomes] == ["kept"] * 3 + ["measured", "failed"] + ["measured"] * 5
    assert outcomes[4].reason == "the loss is not finite; lower learning_rate"
    assert len(pretended) == 10
    assert len(read_results(tmp_path)) == 9
    record = read_results(tmp_path)[0]
    assert {"commit", "versions", "machine", "command", "amiss", "seed"} <= set(record)


def test_again_measures_again_and_the_later_counts(tmp_path: Path, pretended: list[str]) -> None:
    (cell,) = cells_of(read_table("adacl-4.1"), patterns=["adacl/mnist/0"])
    for again in (False, True):
        list(run_cells([cell], tmp_path, again=again))
    assert len(pretended) == 2
    assert len((tmp_path / FILE).read_text().splitlines()) == 2
    assert len(read_results(tmp_path)) == 1


def test_behind_the_budget_nothing_is_begun(tmp_path: Path, pretended: list[str]) -> None:
    cells = cells_of(read_table("adacl-4.1"), patterns=["adacl/mnist"])
    assert {outcome.state for outcome in run_cells(cells, tmp_path, budget=0)} == {"waiting"}
    assert not pretended


def test_a_set_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cell, "is_here", False)
    cells = cells_of(read_table("g2d-2"))
    assert {outcome.reason for outcome in run_cells(cells, tmp_path)} == {
        "caltech-256 is not here; see amiss data list"
    }


def test_a_line_that_was_cut_costs_no_other(tmp_path: Path) -> None:
    first, second = cells_of(read_table("adacl-4.1"), seeds=(0, 1), patterns=["adacl/mnist/0"])
    whole = json.dumps(result(first, auroc=0.5)) + "\n"
    path = tmp_path / FILE
    path.write_text(whole + json.dumps(result(second, auroc=0.6))[:40])
    assert [record["seed"] for record in read_results(tmp_path)] == [0]
    with adding_results(tmp_path) as file:
        file.add(result(second, auroc=0.7))
    assert [record["figures"]["auroc"] for record in read_results(tmp_path)] == [0.5, 0.7]
    assert path.read_text().startswith(whole)


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"seed": 1}\n')
    with pytest.raises(DataError, match="line 1 of"):
        read_results(tmp_path)


def test_two_runs_do_not_add_at_once(tmp_path: Path) -> None:
    with adding_results(tmp_path), pytest.raises(WriteError, match="another --work"), adding_results(tmp_path):
        pass


def test_the_interval_is_students() -> None:
    for values in ((1.0, 2.5), (0.2, 0.4, 0.9), tuple(float(x**2) for x in range(9))):
        low, high = stats.t.interval(0.95, len(values) - 1, statistics.fmean(values), stats.sem(values))
        assert Figure(values=values).half_width == pytest.approx((high - low) / 2, rel=1e-3)
    assert Figure(values=(1.0,)).half_width is None


def test_means_are_over_whole_seeds_and_over_what_nothing_was_chosen_on() -> None:
    table = read_table("adacl-4.1")
    cells = cells_of(table, seeds=(0, 1), patterns=["adacl/mnist"])
    records = [result(cell, auroc=0.9 + int(cell.case) / 100 + cell.seed / 1000) for cell in cells]
    rows = {row.name: row for row in summarise("adacl-4.1", table, records, HERE).sets[0].rows}
    figures = rows["ADACL"].figures
    assert figures["mean"].values == pytest.approx((94.5, 94.6))
    others = [case for case in range(10) if case not in (0, 3, 6)]
    assert figures[OTHERS].values == pytest.approx([90 + statistics.fmean(others) + seed for seed in (0, 0.1)])
    assert figures["2"].difference == pytest.approx(92.05 - 98.58)
    assert rows["OC-SVM"].state == "not run"
    lacking = summarise("adacl-4.1", table, records[:-1], HERE).sets[0].rows
    assert next(row for row in lacking if row.name == "ADACL").figures["mean"].values == pytest.approx((94.5,))


def test_a_shorter_run_says_so_and_the_fullest_counts() -> None:
    table = read_table("ravi-4.8")
    (short,) = cells_of(table, patterns=["bcae1/ucsd-ped2"])
    (long,) = cells_of(table, patterns=["bcae1/ucsd-ped2"], epochs=300)
    for records, epochs, share in (([short], 10, 10 / 300), ([short, long], 300, None)):
        summary = summarise(
            "ravi-4.8", table, [result(cell, auroc=0.6, auroc_normalised=0.7) for cell in records], HERE
        )
        ped2 = next(each for each in summary.sets if each.name == "ucsd-ped2")
        row = next(row for row in ped2.rows if row.name == "BCAE1")
        assert (row.epochs, row.paper_epochs, row.shorter) == (epochs, 300, share)
        assert row.figures["auroc_normalised"].difference == pytest.approx(70 - 83.85)
        assert ("10, which is 3.3 % of the paper's" in markdown(summary)) == (share is not None)
    avenue = next(each for each in summary.sets if each.name == "avenue")
    assert {row.state for row in avenue.rows} == {"not run: avenue is not here"}


def test_the_html_page_escapes_and_loads_nothing() -> None:
    table = read_table("ravi-4.12")
    page = html(summarise("ravi-4.12", table, [], HERE))
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('class="paper"') == len(table.rows)
    changed = table.model_copy(update={"title": "<b>"})
    assert "<h1>&lt;b&gt;</h1>" in html(summarise("x", changed, [], HERE))


@pytest.mark.parametrize("name", table_names())
def test_the_page_in_results_is_what_the_results_say(name: str) -> None:
    if not KEPT.exists():
        pytest.skip("amiss is installed without its results")
    summary = summarise(name, read_table(name), read_results(KEPT), HERE)
    assert (KEPT / f"{name}.md").read_text(encoding="utf-8") == markdown(summary)
    json.dumps(as_plain(summary), allow_nan=False)


def test_every_kept_result_stands_in_a_table() -> None:
    if not KEPT.exists():
        pytest.skip("amiss is installed without its results")
    records = read_results(KEPT)
    shown = {
        key_of(record) for name in table_names() for record in summarise(name, read_table(name), records, HERE).records
    }
    assert {key_of(record) for record in records} == shown


def test_every_figure_of_the_overview_stands_on_a_page() -> None:
    overview = KEPT.parents[1] / "docs" / "reproduction.md"
    if not overview.exists():
        pytest.skip("amiss is installed without its docs")
    pages = "\n".join(path.read_text(encoding="utf-8") for path in KEPT.glob("*.md"))
    known = {figure.lstrip("+-") for figure in re.findall(r"[+-]?\d+\.\d+", pages)}
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", overview.read_text(encoding="utf-8"), flags=re.S)
    figures = re.findall(r"\d+\.\d+", text)
    assert len(figures) > 50
    assert not [figure for figure in figures if figure not in known]
    for name in table_names():
        if read_table(name).paper:
            assert f"bench/{name}.md" in overview.read_text(encoding="utf-8"), name
