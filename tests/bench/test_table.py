"""The tables as data: they can be read, name what there is, and print what the papers print."""

from __future__ import annotations

import math

import pytest

from amiss.bench.cells import cells_of, smallest_cells
from amiss.bench.protocols import measure
from amiss.bench.table import MEAN, MEASURES, Table, is_printed, read_table, table_names
from amiss.data import known_sets
from amiss.errors import UsageError

NAMES = table_names()
PAPERS = {
    "alps-1", "alps-2", "alps-3", "adacl-4.1", "adacl-4.2", "adacl-4.4", "g2d-1", "g2d-2", "adnl-1", "adnl-2", "adnl-3",
    "adnl-4", "ravi-4.6", "ravi-4.7", "ravi-4.8", "ravi-4.9", "ravi-4.11", "ravi-4.12", "ravi-4.13",
}  # fmt: skip


def test_the_papers_tables_are_there() -> None:
    assert set(NAMES) >= PAPERS
    for name in PAPERS:
        assert read_table(name).paper, name
        assert read_table(name).paper_protocol, name


@pytest.mark.parametrize("name", NAMES)
def test_a_table_names_what_there_is(name: str) -> None:
    table = read_table(name)
    for dataset in table.sets.values():
        assert not dataset.data or dataset.data in known_sets()
        if dataset.protocol == "video":
            assert all(case == "all" or len(dataset.cases) == 1 for case in dataset.cases)
        elif dataset.choosing:
            assert set(dataset.choosing) < set(dataset.cases)
        for each in dataset.measures:
            assert each in MEASURES or each.startswith("kind:")
    assert cells_of(table)  # every method has the settings
    for cell in cells_of(table):
        cell.detector()
    if {each.protocol for each in table.sets.values()} != {"parameters"}:
        methods = {row.method for row in table.all_rows().values()}
        assert methods >= {"pixel_zscore", "pca", "knn"}
    if any(each.protocol == "video" for each in table.sets.values()):
        assert "frame_difference" in {row.method for row in table.all_rows().values()}


@pytest.mark.parametrize("name", NAMES)
def test_printed_figures_are_percentages_whose_mean_is_the_printed_one(name: str) -> None:
    table = read_table(name)
    for key, row in table.rows.items():
        for each, printed in row.printed.items():
            dataset = table.sets[each]
            assert all(0 < value <= 100 for value in printed if is_printed(value)), (key, each)
            if len(dataset.cases) == 1 or any(map(math.isnan, printed)):
                continue
            *cases, mean = printed
            assert len(printed) == len(dataset.columns)
            assert sum(cases) / len(cases) == pytest.approx(mean, abs=0.06), (key, each)


def test_figures_that_the_text_repeats() -> None:
    """Printed twice in their papers, so copied from two places."""
    assert read_table("adacl-4.1").rows["adacl"].printed["mnist"][-1] == 98.01
    assert read_table("alps-1").rows["alps-oracle"].printed["mnist"][-1] == 97.65
    assert read_table("alps-3").rows["alps-oracle"].printed["mnist"][-1] == 97.65
    assert read_table("adnl-1").rows["plain"].printed["mnist"][-1] == 99.11
    for each in ("ucsd-ped1", "ucsd-ped2", "avenue", "subway-entrance", "subway-exit", "ham10000"):
        first, second = (read_table(f"ravi-4.{n}").rows["bcae1"].printed[each] for n in (8, 9))
        assert first[:2] == second[:2]
    best, all_ = read_table("ravi-4.11"), read_table("ravi-4.13")
    for key, row in best.rows.items():
        for each, printed in row.printed.items():
            if key != "bcae1":  # table 4.13 has two digits
                assert all_.rows[key].printed[each][0] == pytest.approx(printed[0], abs=0.8)


def test_parameters_of_recurrent_models_are_those_of_table_4_12() -> None:
    table = read_table("ravi-4.12")
    cells = {cell.name.split("/")[0]: cell for cell in cells_of(table)}
    key = "seq2seq-lstm-2-n"
    counted = measure(cells[key])["figures"]["parameters"]
    assert counted / 1e6 == pytest.approx(table.rows[key].printed["weights"][0], abs=0.01)


def test_an_unknown_table_names_one_that_is_near() -> None:
    with pytest.raises(UsageError, match=r"did you mean adacl-4\.\d"):
        read_table("adacl-4")


def test_patterns_pick_cells() -> None:
    table = read_table("adacl-4.1")
    assert {cell.method for cell in cells_of(table, patterns=["adacl/*"])} == {"adacl"}
    (cell,) = cells_of(table, patterns=["adacl/mnist/3"])
    assert (cell.data, cell.case, cell.seed) == ("mnist", "3", 0)
    assert len(cells_of(table, seeds=(0, 1), patterns=["adacl/mnist"])) == 20
    with pytest.raises(UsageError, match="no cell is called nothing"):
        cells_of(table, patterns=["nothing"])


def test_rows_that_show_other_figures_of_one_fit_share_its_cell() -> None:
    cells = cells_of(read_table("alps-1"), patterns=["alps*/mnist/0"])
    assert [cell.name for cell in cells] == ["alps-oracle/mnist/0"] or len(cells) == 1
    keys = {cell.key for cell in cells_of(read_table("alps-3"), patterns=["alps*/mnist/0"])}
    assert keys == {cell.key for cell in cells}  # and across tables


def test_the_mean_stands_last_of_several_cases() -> None:
    for name in NAMES:
        for dataset in read_table(name).sets.values():
            assert (dataset.columns[-1] == MEAN) == (len(dataset.cases) > 1)


@pytest.mark.parametrize("wrong", ["sets", "printed"])
def test_a_table_that_does_not_fit_together_is_refused(wrong: str) -> None:
    row = {"name": "r", "method": "pca"} | ({"sets": ["b"]} if wrong == "sets" else {"printed": {"a": [1.0, 2.0]}})
    with pytest.raises(ValueError, match="which the table does not have" if wrong == "sets" else "prints 2 figures"):
        Table.model_validate(
            {
                "title": "t",
                "protocol": "p",
                "sets": {"a": {"data": "mnist", "protocol": "one_class"}},
                "rows": {"r": row},
            }
        )


def test_smallest_cells_are_one_a_method() -> None:
    cells = smallest_cells(read_table("ravi-4.12"))
    assert [cell.method for cell in cells] == ["recurrent"]
