"""Result tables hold the same rows in every format, survive broken runs and odd names, and refuse foreign ones."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amiss.calibration import Decision
from amiss.data import Item
from amiss.environment.files import write_text
from amiss.errors import AmissError, DataError, MissingExtraError, UsageError, WriteError
from amiss.model.scoring import Row
from amiss.report.table import COLUMNS, FORMATS, ResultTable, as_record, csv_line, result_table

RUN = {"model": "abc", "inputs": "parts/new", "n": 4}
ODD_NAMES = (
    "plain.png",
    'com,ma "quotes".png',
    "two\nlines\r\n.png",
    "tab\tand\x1b[31mcolour\x07.png",
    "Prüfling 零件 🔩.png",
    os.fsdecode(b"not-utf8-\xff\xfe.png"),
    " leading and trailing ",
    "'; DROP TABLE parts; --.png",
)
FORMULAS = ("=1+2.png", "+1.png", "-1.png", "@SUM(A1).png", '=HYPERLINK("http://x";"y").png', "\t=1.png", "\r=1.png")


def unread() -> Any:
    raise AssertionError("a result table reads no pixels")


def row(name: str, score: float = 0.25, p_value: float = 0.5, flag: bool = False, error: str | None = None) -> Row:
    return Row(Item(name, unread), score, p_value, flag, "digest", error)


ROWS = (
    row("a.png", float(np.float32(0.1)), 1 / 3, False),
    row("b.png", float("nan"), float("nan"), False, "b.png is not a picture"),
    row("c.png", -1e-7, 0.01, True),
    row("d.png", 1e30, 1.0, False),
    replace(row("e.png"), note="unlike the images learnt from: darker (brightness 0.1, theirs 0.5)"),
)


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def table_of(path: Path, rows: Sequence[Row], run: dict[str, Any] = RUN) -> Path:
    with result_table(path, run) as table:
        for each in rows:
            table.write(as_record(each))
    return path


def read_table(path: Path) -> list[dict[str, Any]]:
    """Records as a user's tools read them."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        records: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return records
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file, strict=True))
    truth = {"true": True, "false": False, "": None}
    return [
        {
            "name": cell["name"],
            "score": float(cell["score"]) if cell["score"] else None,
            "p_value": float(cell["p_value"]) if cell["p_value"] else None,
            "is_anomaly": truth[cell["is_anomaly"]],
            "error": cell["error"] or None,
            "note": cell["note"] or None,
        }
        for cell in cells
    ]


def broken_after(path: Path, rows: Sequence[Row], fresh: bool = True) -> Path:
    """The partial table of a run that stopped behind `rows`."""

    def stopped() -> None:
        with result_table(path, RUN) as table:
            for each in rows:
                table.write(as_record(each))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.exists() is not fresh
    return path.with_name(path.name + ".partial")


# -- content -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_content_and_columns(ending: str, tmp_path: Path) -> None:
    records = read_table(table_of(tmp_path / f"t{ending}", ROWS))
    assert [tuple(record) for record in records] == [COLUMNS] * len(ROWS)
    for record, each in zip(records, ROWS, strict=True):
        assert record["name"] == each.item.name
        assert (record["error"], record["note"]) == (each.error, each.note)
        if each.error is not None:
            assert (record["score"], record["p_value"], record["is_anomaly"]) == (None, None, None)
            continue
        assert np.float32(record["score"]) == np.float32(each.score)
        assert record["p_value"] == each.p_value
        assert record["is_anomaly"] is each.is_anomaly
    assert names(tmp_path) == [f"t{ending}"]


def test_the_contract_names_the_columns() -> None:
    assert COLUMNS == ("name", "score", "p_value", "is_anomaly", "error", "note")


@pytest.mark.parametrize("ending", FORMATS)
def test_no_rows_give_an_empty_table(ending: str, tmp_path: Path) -> None:
    path = table_of(tmp_path / f"t{ending}", ())
    assert read_table(path) == []
    if ending == ".csv":
        assert path.read_text() == "name,score,p_value,is_anomaly,error,note\n"


def test_more_rows_than_one_parquet_chunk(tmp_path: Path) -> None:
    with result_table(tmp_path / "t.parquet", RUN) as table:
        for index in range(20_001):
            table.write({"name": str(index), "score": 0.5, "p_value": 0.5, "is_anomaly": False, "error": None})
    records = read_table(tmp_path / "t.parquet")
    assert [record["name"] for record in records] == [str(index) for index in range(20_001)]


def test_records_hold_no_nan() -> None:
    record = as_record(ROWS[1])
    assert json.dumps(record, allow_nan=False)
    assert not any(isinstance(value, float) and math.isnan(value) for value in record.values())


@pytest.mark.parametrize("name", ["t.txt", "t", "t.csv.gz", ".csv", "t.xlsx"])
def test_unknown_ending_is_bad_usage(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ResultTable(tmp_path / name, RUN)
    for ending in FORMATS:
        assert ending in str(caught.value)
    assert names(tmp_path) == []


def test_upper_case_endings_are_known(tmp_path: Path) -> None:
    """As for images, whose endings may be of any case."""
    assert read_table(table_of(tmp_path / "T.csv", ROWS)) == read_table(table_of(tmp_path / "t.jsonl", ROWS))
    table_of(tmp_path / "UPPER.CSV", ROWS)
    assert (tmp_path / "UPPER.CSV").read_text() == (tmp_path / "T.csv").read_text()


def test_parquet_without_pyarrow_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as caught:
        ResultTable(tmp_path / "t.parquet", RUN)
    assert caught.value.extra == "parquet"
    assert names(tmp_path) == []


def test_what_cannot_be_written_is_explained_before_any_row(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "t.csv", tmp_path / "folder.csv", tmp_path / "file" / "t.csv"):
        with pytest.raises(AmissError) as caught:
            ResultTable(path, RUN)
        assert path.name in str(caught.value)
    assert names(tmp_path) == ["file", "folder.csv"]


# -- odd names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_odd_names_do_no_harm(name: str, ending: str, tmp_path: Path) -> None:
    """One record comes back; it bears the name, unless that is no text at all, and then something like it."""
    rows = [row("before"), row(name), row(name, math.nan, math.nan, error=f"{name} is cut"), row("behind")]
    records = read_table(table_of(tmp_path / f"t{ending}", rows))
    assert len(records) == 4
    assert [records[0]["name"], records[3]["name"]] == ["before", "behind"]
    try:
        name.encode()
    except UnicodeEncodeError:
        assert str(records[1]["name"]).startswith("not-utf8-")
    else:
        if ending == ".csv":  # a table may put a line on one line
            assert records[1]["name"].split() == name.split()
        else:
            assert records[1]["name"] == name
    assert str(records[2]["error"]).endswith(" is cut")


def test_names_that_differ_stay_different_in_csv(tmp_path: Path) -> None:
    names = ["a b.png", "a\nb.png", "a\rb.png", os.fsdecode(b"a\xfeb.png"), os.fsdecode(b"a\xffb.png")]
    records = read_table(table_of(tmp_path / "t.csv", [row(name) for name in names]))
    assert len({record["name"] for record in records}) == len(names)


@pytest.mark.parametrize("name", FORMULAS)
def test_no_csv_cell_begins_as_a_formula(name: str) -> None:
    """A spreadsheet runs cells that begin with = + - @, a tab or a carriage return (OWASP, CSV injection)."""
    line = csv_line(as_record(row(name, math.nan, math.nan, error=f"{name} cannot be read")))
    (cells,) = csv.reader([line], strict=True)
    for cell in (cells[0], cells[4]):
        assert cell[:1] not in "=+-@\t\r"
        assert name.strip() in cell


def test_negative_scores_stay_numbers() -> None:
    (cells,) = csv.reader([csv_line(as_record(row("a.png", -0.5)))])
    assert float(cells[1]) == -0.5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(max_size=20), max_size=4))
@pytest.mark.parametrize("ending", FORMATS)
def test_any_text_survives(ending: str, names: list[str], tmp_path: Path) -> None:
    records = read_table(table_of(tmp_path / f"t{ending}", [row(name) for name in names]))
    assert len(records) == len(names)
    if ending != ".csv":
        assert [record["name"] for record in records] == names


# -- broken runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_resume_after_any_cut_equals_an_unbroken_run(ending: str, tmp_path: Path) -> None:
    whole = read_table(table_of(tmp_path / f"whole{ending}", ROWS))
    path = tmp_path / f"t{ending}"
    partial = broken_after(path, ROWS[:3])
    content = partial.read_bytes()
    header = content.index(b"\n") + 1
    for length in range(header, len(content) + 1):
        partial.write_bytes(content[:length])
        with result_table(path, RUN, resume=True) as table:
            assert table.done == content[:length].count(b"\n") - 1
            assert table.lacking(each.item.name for each in ROWS) == list(range(table.done, len(ROWS)))
            for each in ROWS[table.done :]:
                table.write(as_record(each))
        assert read_table(path) == whole
        assert not partial.exists()
        path.unlink()


def test_resume_of_a_run_cut_in_its_first_line_is_refused_or_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    partial = broken_after(path, ROWS[:2])
    content = partial.read_bytes()
    for length in (0, 1, 10, content.index(b"\n")):
        partial.write_bytes(content[:length])
        try:
            table = ResultTable(path, RUN, resume=True)
        except DataError as error:
            if partial.name not in str(error):
                raise
            continue
        assert table.done == 0
        for each in ROWS:
            table.write(as_record(each))
        table.finish()
        assert len(read_table(path)) == len(ROWS)
        path.unlink()


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b"[1]\n", b"{}\n", b"\xff\xfe\n", b"null\n"], ids=range(5))
def test_resume_of_a_damaged_table_is_refused_or_scores_again(damage: bytes, tmp_path: Path) -> None:
    """A power cut can leave blocks of zeros behind the last row that reached the disk."""
    path = tmp_path / "t.csv"
    partial = broken_after(path, ROWS[:2])
    partial.write_bytes(partial.read_bytes() + damage)
    try:
        table = ResultTable(path, RUN, resume=True)
    except DataError as error:
        if partial.name not in str(error):
            raise
    else:
        assert table.done == 2
        table.close()


@pytest.mark.parametrize("other", [{"model": "def"}, {"inputs": "parts/old"}, {"n": 5}])
def test_resume_with_another_model_or_input_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    partial = broken_after(path, ROWS[:2])
    before = partial.read_bytes()
    with pytest.raises(DataError) as caught:
        ResultTable(path, RUN | other, resume=True)
    assert partial.name in str(caught.value)
    assert f"differs in its {next(iter(other))}; delete" in str(caught.value)
    assert partial.read_bytes() == before


def test_rows_stay_and_what_has_none_is_lacking_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    broken_after(path, ROWS[:2])
    with result_table(path, RUN, resume=True) as table:
        assert table.lacking(["0.png", "a.png", "a2.png", "b.png", "a.png", "z.png"]) == [0, 2, 4, 5]
        for each in ROWS[2:]:
            table.write(as_record(each))
    assert [record["name"] for record in read_table(path)] == ["a.png", "b.png", "c.png", "d.png", "e.png"]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_finished_table_is_added_to(ending: str, tmp_path: Path) -> None:
    odd = [row(name, 0.5) for name in (*ODD_NAMES, *FORMULAS)]
    path = table_of(tmp_path / f"t{ending}", [*ROWS, *odd])
    before = read_table(path)
    new = row("new.png", 0.75)
    with result_table(path, RUN | {"inputs": "another folder"}, resume=True) as table:
        names = [each.item.name for each in (*odd, new, *ROWS)]
        assert (table.done, table.lacking(names)) == (len(before), [len(odd)])
        table.write(as_record(new))
    assert read_table(path) == [*before, read_table(table_of(tmp_path / f"u{ending}", [new]))[0]]


@pytest.mark.parametrize("ending", FORMATS)
def test_adding_without_anything_new_leaves_every_byte(ending: str, tmp_path: Path) -> None:
    path = table_of(tmp_path / f"t{ending}", [*ROWS, row("=1.png"), row("a.mp4[3]")])
    before = path.read_bytes()
    with result_table(path, RUN, resume=True) as table:
        assert table.done == 7
    assert path.read_bytes() == before


def test_rows_of_files_that_were_changed_since_then_do_not_stay(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "film.mp4")]
    for file in files:
        file.touch()
    names = [str(files[0]), str(files[1]), f"{files[2]}[0]", f"{files[2]}[1]"]
    path = table_of(tmp_path / "t.csv", [row(name) for name in names])
    later = path.stat().st_mtime + 5
    for file in files[1:]:
        os.utime(file, (later, later))
    with result_table(path, RUN, resume=True) as table:
        assert (table.done, table.changed, table.lacking(names)) == (1, 3, [1, 2, 3])


def test_a_file_that_was_changed_while_its_run_went_on_is_scored_again(tmp_path: Path) -> None:
    """The table, or its partial file, is written behind that moment; what counts is when the run began."""
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.touch()
    for broken in (False, True):
        path = tmp_path / f"{broken}.csv"
        table = ResultTable(path, RUN)
        for file in files:
            table.write(as_record(row(str(file))))
        during = time.time() + 0.05
        os.utime(files[1], (during, during))
        time.sleep(0.1)
        if broken:
            table.flush()
            os.utime(table.partial, (during + 1, during + 1))
            table.close()
        else:
            table.finish()
        with result_table(path, RUN, resume=True) as table:
            assert (table.done, table.changed, table.lacking(map(str, files))) == (1, 1, [1])


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("finished", [True, False])
def test_rows_with_an_error_are_tried_again_in_their_place(finished: bool, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    failed = [row(name, math.nan, math.nan, error="cut") for name in ("=1.png", "b.png", "b.png", "z.png")]
    old = [row("a.png"), *failed]
    if finished:
        table_of(path, old)
    else:
        broken_after(path, old)
    names = [each.item.name for each in old]
    mended, new = [row(name, score) for name, score in (("=1.png", 0.5), ("b.png", 0.75))], row("new.png")

    def some_mended() -> None:
        with result_table(path, RUN, resume=True) as table:
            assert (table.done, table.lacking([*names, "new.png"]), table.failed(names)) == (5, [5], [1, 2, 3, 4])
            table.write(as_record(new))
            for each in mended:
                table.replace(as_record(each))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        some_mended()
    with result_table(path, RUN, resume=True) as table:
        assert (table.done, table.failed(names)) == (6, [2, 4])
        table.replace(as_record(failed[1]))  # as bad as before
    assert path.read_bytes() == table_of(tmp_path / f"u{ending}", [old[0], *mended, *failed[2:], new]).read_bytes()


@pytest.mark.parametrize("ending", FORMATS)
def test_a_table_of_an_earlier_version_gets_notes(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, path = ROWS[:4], tmp_path / f"t{ending}"
    with monkeypatch.context() as patch:
        patch.setattr("amiss.report.table.COLUMNS", COLUMNS[:-1])
        with result_table(path, RUN, further=["time"]) as table:
            for each in rows:
                record = as_record(each)
                del record["note"]
                table.write({**record, "time": 0.5})
    assert b"note" not in path.read_bytes()
    with result_table(path, RUN, resume=True, further=["time"]) as table:
        table.write({**as_record(ROWS[4]), "time": 0.5})
    with result_table(tmp_path / f"u{ending}", RUN, further=["time"]) as table:
        for each in ROWS:
            table.write({**as_record(each), "time": 0.5})
    assert path.read_bytes() == (tmp_path / f"u{ending}").read_bytes()


@pytest.mark.parametrize("content", [b"name,score\na,1\n", b"no table", b"\xff\xfe", b"name\n", b"PAR1", b"{}\n"])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_table_of_another_kind_is_not_added_to(ending: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="give another --out"):
        ResultTable(path, RUN, resume=True)
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == content


def test_rows_of_another_model_or_rate_are_not_added_to(tmp_path: Path) -> None:
    decision = Decision(np.arange(20, dtype=np.float32), 0.1)
    scores = np.array([3.5, 18.5, 25.0], dtype=np.float32)
    p_values, flags = decision.p_values(scores), decision.is_anomaly(scores)
    rows = [row(f"{n}.png", *each) for n, each in enumerate(zip(scores, p_values, map(bool, flags), strict=True))]
    path = table_of(tmp_path / "t.csv", [*rows, ROWS[1]])
    with result_table(path, RUN, resume=True, decision=decision) as table:
        assert table.done == 4
    for other in (Decision(np.arange(20, dtype=np.float32) + 1, 0.1), Decision(decision.calibration, 0.04)):
        with pytest.raises(DataError, match=r"another model, engine or false-alarm rate.*\.png"):
            ResultTable(path, RUN, resume=True, decision=other)
        assert names(tmp_path) == ["t.csv"], "nothing that a second try would go on from"


def test_two_cannot_write_one_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with result_table(path, RUN) as table:
        table.write(as_record(ROWS[0]))
        for resume in (False, True):
            with pytest.raises(
                WriteError, match=rf"t\.csv is being written by another amiss \(process {os.getpid()}\)"
            ):
                ResultTable(path, RUN, resume)
    assert [record["name"] for record in read_table(path)] == ["a.png"]
    assert names(tmp_path) == ["t.csv"]


def test_without_resume_a_broken_run_is_started_over(tmp_path: Path) -> None:
    broken_after(tmp_path / "t.csv", ROWS[:3])
    assert len(read_table(table_of(tmp_path / "t.csv", ROWS))) == len(ROWS)


def test_resume_with_nothing_to_resume_starts(tmp_path: Path) -> None:
    with result_table(tmp_path / "t.csv", RUN, resume=True) as table:
        assert table.done == 0


def test_a_broken_run_leaves_the_older_table(tmp_path: Path) -> None:
    path = table_of(tmp_path / "t.csv", ROWS)
    before = path.read_bytes()
    broken_after(path, ROWS[:1], fresh=False)
    assert path.read_bytes() == before


def test_flushed_rows_reach_the_file(tmp_path: Path) -> None:
    table = ResultTable(tmp_path / "t.csv", RUN)
    table.write(as_record(ROWS[0]))
    table.flush()
    assert table.partial.read_text().count("\n") == 2
    table.close()


# -- texts -------------------------------------------------------------------------------------------------------------


def test_write_text_makes_folders_and_is_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "t.json", "ü\n")
    assert (tmp_path / "a" / "b" / "t.json").read_bytes() == "ü\n".encode()
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "t.json", tmp_path / "a"):
        with pytest.raises(AmissError) as caught:
            write_text(target, "x")
        assert target.name in str(caught.value)
