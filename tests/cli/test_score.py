"""`amiss score`: rows for people, pipes and programs; tables, pages and maps."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amiss.environment.files import picture_name
from amiss.model import FittedModel
from amiss.registry import load

Run = Callable[..., Any]
COLUMNS = ["name", "score", "p_value", "is_anomaly", "error", "note"]


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.fixture
def mixed(pictures: Path, tmp_path: Path) -> Path:
    """Good pictures, and files that are none."""
    folder = tmp_path / "mixed"
    shutil.copytree(pictures / "new", folder)
    (folder / "005b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


# -- standard output ---------------------------------------------------------------------------------------------------


def test_a_pipe_gets_csv_and_nothing_else(run: Run, model: Path, pictures: Path) -> None:
    done = run("score", model, pictures / "new").well()
    rows = csv_rows(done.out)
    assert list(rows[0]) == COLUMNS
    result = load(model).score(pictures / "new")
    assert [row["name"] for row in rows] == result.names
    assert [float(row["score"]) for row in rows] == pytest.approx(result.scores.tolist(), rel=1e-6)
    assert [row["is_anomaly"] == "true" for row in rows] == result.is_anomaly.tolist()
    assert "\x1b" not in done.out + done.err
    assert "\r" not in done.out + done.err
    assert f"{result.is_anomaly.sum()} of 12 images are amiss" in done.err


def test_a_real_pipe_gets_the_same(run: Run, start: Run, model: Path, pictures: Path) -> None:
    process = start("score", model, pictures / "new")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    here = run("score", model, pictures / "new")
    assert csv_rows(out) == csv_rows(here.out)
    assert err == here.err
    assert "\x1b" not in out + err
    assert "\r" not in out + err


def test_json_is_one_document(run: Run, model: Path, mixed: Path) -> None:
    done = run("score", model, mixed, "--json").well()
    rows = done.json["rows"]
    assert [list(row) for row in rows] == [COLUMNS] * 15
    assert sum(row["error"] is not None for row in rows) == 3
    for row in rows:
        assert (row["score"] is None) == (row["p_value"] is None) == (row["is_anomaly"] is None) == bool(row["error"])


def test_json_with_a_table_is_one_document(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    done = run("score", model, mixed, "--json", "--out", tmp_path / "t.csv").well()
    assert done.json["out"] == str(tmp_path / "t.csv")
    assert (done.json["scored"], done.json["errors"]) == (15, 3)


def test_json_stays_one_document_where_something_fails_late(
    run: Run, map_model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run("score", map_model, pictures / "new", "--json", "--heatmaps", tmp_path / "file")
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    assert isinstance(done.json, dict)


def test_a_reader_that_leaves_is_no_error_of_ours(model: Path, pictures: Path) -> None:
    command = f"'{sys.executable}' -m amiss score '{model}' '{pictures}/good' '{pictures}/good' | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == ",".join(COLUMNS)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_there_is_no_film_of_still_images(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    run("score", model, pictures / "new", "--film", tmp_path / "films").failed(2, "still image", "--heatmaps")
    assert not (tmp_path / "films").exists()


def test_unreadable_files_become_rows(run: Run, model: Path, mixed: Path) -> None:
    done = run("score", model, mixed).well()
    rows = csv_rows(done.out)
    failed = [row for row in rows if row["error"]]
    assert [Path(row["name"]).name for row in failed] == ["005b.png", "empty.jpg", "text.png"]
    assert all(row["score"] == row["p_value"] == row["is_anomaly"] == "" for row in failed)
    assert "3 could not be read" in done.err


def test_only_unreadable_files_are_a_failure(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    done = run("score", model, tmp_path)
    assert done.code == 1
    assert len(csv_rows(done.out)) == 1
    assert "Traceback" not in done.err


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_out_has_the_contracts_columns(ending: str, run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / f"t.{ending}"
    done = run("score", model, mixed, "--out", out).well()
    assert done.out == ""
    assert str(out) in done.err
    if ending == "csv":
        columns, count = list(csv_rows(out.read_text())[0]), len(csv_rows(out.read_text()))
    elif ending == "jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        columns, count = list(lines[0]), len(lines)
    else:
        from pyarrow import parquet

        table = parquet.read_table(out)
        columns, count = table.column_names, len(table)
    assert (columns, count) == (COLUMNS, 15)
    assert names(tmp_path) == ["mixed", f"t.{ending}"]


def test_out_equals_standard_output(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    run("score", model, mixed, "--out", tmp_path / "t.csv").well()
    assert (tmp_path / "t.csv").read_text() == run("score", model, mixed).out


def test_out_that_cannot_be_written_is_explained(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    new = pictures / "new"
    run("score", model, new, "--out", tmp_path / "t.txt").failed(2, "t.txt", ".csv")
    run("score", model, new, "--out", tmp_path / "missing" / "t.csv").failed(1, "missing")
    done = run("score", model, new, "--out", tmp_path / "folder.csv")
    done.failed(done.code, "folder.csv")
    assert names(tmp_path) == ["folder.csv"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs ulimit")
def test_a_full_disk_is_explained(model: Path, pictures: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails as a full disk does: while the rows are written."""
    command = f"ulimit -f 1; '{sys.executable}' -m amiss score '{model}' '{pictures}/good' --out '{tmp_path}/t.csv'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "t.csv" in done.stderr
    assert not (tmp_path / "t.csv").exists()


def test_resume_equals_an_unbroken_run(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    run("score", model, mixed, "--out", out).well()
    whole = csv_rows(out.read_text())
    partial = broken_run(run, model, mixed, out, rows=6)
    partial.write_bytes(partial.read_bytes()[:-9])
    done = run("score", model, mixed, "--out", out, "--resume").well()
    resumed = csv_rows(out.read_text())
    assert len(resumed) == len(whole)
    for row, other in zip(resumed, whole, strict=True):
        assert {**row, "score": ""} == {**other, "score": ""}
        assert row["score"] == other["score"] or float(row["score"]) == pytest.approx(float(other["score"]), abs=1e-5)
    assert not partial.exists()
    assert "5 more had been scored before" in done.err


def broken_run(run: Run, model: Path, folder: Path, out: Path, rows: int, *options: object) -> Path:
    """The partial table of a run that ended after `rows` rows."""
    from amiss.report import table as results

    written = 0
    write = results.ResultTable.write

    def break_off(table: results.ResultTable, record: dict[str, Any]) -> None:
        nonlocal written
        if written == rows:
            raise KeyboardInterrupt
        written += 1
        write(table, record)

    out.unlink(missing_ok=True)
    results.ResultTable.write = break_off  # type: ignore[method-assign]
    try:
        done = run("score", model, folder, "--out", out, *options)
    finally:
        results.ResultTable.write = write  # type: ignore[method-assign]
    assert done.code != 0
    assert "Traceback" not in done.err
    assert not out.exists()
    return out.with_name(out.name + ".partial")


def test_resume_with_another_model_or_input_is_refused(
    run: Run, model: Path, map_model: Path, mixed: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.csv"
    partial = broken_run(run, model, mixed, out, rows=4)
    run("score", map_model, mixed, "--out", out, "--resume").failed(1, "t.csv.partial")
    run("score", model, pictures / "new", "--out", out, "--resume").failed(1, "t.csv.partial")
    assert partial.exists()


def test_resume_on_another_engine_is_refused_or_says_so(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    """Half a table from one engine and half from another would hold decisions at two thresholds."""
    out = tmp_path / "t.csv"
    broken_run(run, model, mixed, out, rows=4)
    done = run("score", model, mixed, "--out", out, "--resume", "--engine", "onnxruntime")
    assert done.code == 1 or "engine" in done.err


def test_resume_at_another_rate_is_refused(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    partial = broken_run(run, model, mixed, out, rows=4)
    resumed = ("score", model, mixed, "--out", out, "--resume", "--false-alarm-rate")
    run(*resumed, 0.3).failed(1, str(partial), "differs in its false-alarm rate; delete it or repeat that run")
    assert partial.exists()
    run(*resumed, 0.1).well()  # the model's own


def test_report_after_a_resume_tells_of_all_images(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    """Or says that it does not, or is refused: a page about a part must not pass for the whole."""
    out = tmp_path / "t.csv"
    broken_run(run, model, mixed, out, rows=9)
    done = run("score", model, mixed, "--out", out, "--resume", "--report", tmp_path / "p.html")
    if done.code == 0:
        text = (tmp_path / "p.html").read_text(encoding="utf-8")
        assert "005b.png" in text, "a file that could not be read before the break is not on the page"


def test_resume_needs_out(run: Run, model: Path, pictures: Path) -> None:
    run("score", model, pictures / "new", "--resume").failed(2, "--out")


# -- odd names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def odd(pictures: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    odd_names = [
        b"com,ma.png",
        b'quo"te.png',
        b"new\nline.png",
        "ü零🔩.png".encode(),
        b"raw\xff.png",
        b"[bold]x[y].png",
    ]
    for index, name in enumerate(odd_names):
        shutil.copy(pictures / "new" / f"{index:03}.png", folder / os.fsdecode(name))
    return folder


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_odd_names_reach_the_table(ending: str, run: Run, model: Path, odd: Path, tmp_path: Path) -> None:
    run("score", model, odd, "--out", tmp_path / f"t.{ending}").well()


def test_odd_names_reach_standard_output_and_the_page(run: Run, map_model: Path, odd: Path, tmp_path: Path) -> None:
    done = run("score", map_model, odd, "--report", tmp_path, "--heatmaps", tmp_path / "maps").well()
    rows = csv_rows(done.out)
    assert len(rows) == 6
    assert len(names(tmp_path / "maps")) == 6
    assert json.loads(run("score", map_model, odd, "--json").well().out)


def test_names_with_terminal_codes_do_not_reach_a_terminal(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from amiss.cli.score import _Printer

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    printer = _Printer(False)
    printer({"name": "\x1b]0;owned\x07\x1b[2Jx.png", "score": 0.1, "p_value": 0.1, "is_anomaly": False, "error": None})
    assert "\x1b" not in capsys.readouterr().out


# -- pages and maps ----------------------------------------------------------------------------------------------------


def test_report_is_a_page_that_stands_alone(run: Run, model: Path, mixed: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    done = run("score", model, mixed, "--report", page).well()
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert text.count("data:image/") >= 6
    for name in ("005b.png", "empty.jpg", "text.png"):
        assert name in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert str(page) in done.err
    assert names(page.parent) == ["page.html"]


def test_report_into_a_folder(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    run("score", model, pictures / "new", "--report", tmp_path / "pages").well()
    assert names(tmp_path / "pages") == ["report.html"]


@pytest.mark.parametrize("name", ["file", "file/page.html", "folder.html"])
def test_report_that_cannot_be_written_is_explained(
    name: str, run: Run, model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.html").mkdir()
    done = run("score", model, pictures / "new", "--report", tmp_path / name)
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    assert "file" in done.err or "folder.html" in done.err


@pytest.mark.parametrize("name", ["x[/b].html", "[red]x.html", ":smile:.html"])
def test_report_names_are_shown_as_they_are(name: str, run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    done = run("score", model, pictures / "new", "--report", tmp_path / name).well()
    assert str(tmp_path / name) in done.err


def test_heatmaps_are_pictures_as_large_as_the_images(
    run: Run, map_model: Path, pictures: Path, tmp_path: Path
) -> None:
    run("score", map_model, pictures / "new", "--heatmaps", tmp_path / "maps").well()
    files = sorted((tmp_path / "maps").iterdir())
    assert len(files) == 12
    for path in files:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (16, 16))


def test_heatmaps_of_different_images_do_not_meet(run: Run, map_model: Path, pictures: Path, tmp_path: Path) -> None:
    """`a/b.png` and `a_b.png` are two images, and so must be their maps."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    shutil.copy(pictures / "new" / "000.png", tmp_path / "in" / "a" / "b.png")
    shutil.copy(pictures / "new" / "001.png", tmp_path / "in" / "a_b.png")
    run("score", map_model, tmp_path / "in", "--heatmaps", tmp_path / "maps").well()
    assert len(names(tmp_path / "maps")) == 2


def test_heatmaps_of_names_too_long_for_a_file(run: Run, map_model: Path, pictures: Path, tmp_path: Path) -> None:
    deep = tmp_path
    for letter in "abcd":
        deep = deep / (letter * 100)
    deep.mkdir(parents=True)
    shutil.copy(pictures / "new" / "000.png", deep)
    done = run("score", map_model, deep, "--heatmaps", tmp_path / "maps")
    assert "Traceback" not in done.err
    assert done.code == 0
    assert len(names(tmp_path / "maps")) == 1


def test_heatmaps_of_a_method_without_maps_are_bad_usage(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    run("score", model, pictures / "new", "--heatmaps", tmp_path / "maps").failed(2, "map")
    assert names(tmp_path) == []


# -- another rate ------------------------------------------------------------------------------------------------------


def test_another_rate_decides_by_the_same_scores(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    own = csv_rows(run("score", model, pictures / "new").well().out)
    done = run("score", model, pictures / "new", "--false-alarm-rate", 0.4, "--report", tmp_path).well()
    rows, expected = csv_rows(done.out), load(model).with_false_alarm_rate(0.4).score(pictures / "new").is_anomaly
    assert [row["is_anomaly"] == "true" for row in rows] == expected.tolist()
    assert [(row["score"], row["p_value"]) for row in rows] == [(row["score"], row["p_value"]) for row in own]
    assert "at most 40 % of normal images" in done.err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "at most about 40\u00a0%" in page
    assert "On average at most 40 %" in page
    assert "10 %" not in page


def test_a_rate_that_cannot_be_is_bad_usage(run: Run, model: Path, pictures: Path) -> None:
    run("score", model, pictures / "new", "--false-alarm-rate", 1.5).failed(2, "between 0 and 1")


# -- large and unusual pictures ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_photograph_of_108_megapixels_is_scored_and_the_limit_can_be_moved(
    run: Run, model: Path, tmp_path: Path
) -> None:
    Image.new("L", (12_000, 9_000), 90).save(tmp_path / "large.png", compress_level=1)
    (row,) = run("score", model, tmp_path, "--json").well().json["rows"]
    assert row["error"] is None
    assert "larger (side 10392, theirs 16)" in row["note"]
    done = run("score", model, tmp_path, "--json", "--max-pixels", 107_999_999)
    assert done.code == 1
    (row,) = done.json["rows"]
    assert "12000x9000 pixels" in row["error"]
    assert "--max-pixels" in row["error"]
    assert run("score", model, tmp_path, "--max-pixels", 0).code == 2


def test_every_page_has_its_row(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    first, *others = (Image.open(path) for path in sorted((pictures / "new").iterdir()))
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    done = run("score", model, tmp_path / "stack.tif", "--json").well()
    assert [row["name"] for row in done.json["rows"]] == [f"{tmp_path.as_posix()}/stack.tif[{n}]" for n in range(12)]
    scores = [row["score"] for row in done.json["rows"]]
    assert scores == pytest.approx(load(model).score(pictures / "new").scores.tolist(), rel=1e-5)
    assert "1 file holds several pages or frames, 12 in all" in done.err


def test_a_model_can_be_fitted_to_the_pages_of_one_file(
    run: Run, quick: tuple[str, ...], pictures: Path, tmp_path: Path
) -> None:
    first, *others = (Image.open(path) for path in sorted((pictures / "good").iterdir())[:20])
    first.save(tmp_path / "good.tif", save_all=True, append_images=others)
    done = run("fit", tmp_path / "good.tif", "--out", tmp_path / "m.amiss", "--method", "knn", "--json").well()
    assert "1 file holds several pages or frames, 20 in all; each is an image, named FILE[number]" in done.json["notes"]
    assert load(tmp_path / "m.amiss").record.splits.calibrate.count == 20


# -- pictures unlike those learnt from ---------------------------------------------------------------------------------


@pytest.fixture
def dark(pictures: Path, tmp_path: Path) -> Path:
    """Ten good pictures in a quarter of the light, two of them also wider."""
    folder = tmp_path / "dark"
    folder.mkdir()
    for index in range(10):
        with Image.open(pictures / "good" / f"{index:03}.png") as image:
            picture = image.point(lambda value: value // 4)
            picture.resize((24, 16) if index < 2 else (16, 16)).save(folder / f"{index}.png")
    return folder


def test_pictures_unlike_those_learnt_from_are_told_everywhere(
    run: Run, model: Path, dark: Path, tmp_path: Path
) -> None:
    done = run("score", model, dark, "--json", "--report", tmp_path, "--false-alarm-rate", 0.9).well()
    notes = [row["note"] for row in done.json["rows"]]
    assert all(note.startswith("unlike the images learnt from: ") and "darker (brightness" in note for note in notes)
    assert ["wider (aspect 1.5, theirs 1)" in note for note in notes] == [True] * 2 + [False] * 8
    assert load(model).score(dark).notes == notes
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    flagged = sum(row["is_anomaly"] for row in done.json["rows"])
    assert flagged > 5
    for told in (done.err, page):
        assert "10 images look unlike those learnt from; the first, " in told
        assert f"most of your images are flagged ({flagged} of 10): that is more likely the pictures than the" in told
    assert "theirs 1)" in page


def test_pictures_like_those_learnt_from_get_no_note(run: Run, model: Path, pictures: Path) -> None:
    done = run("score", model, pictures / "good", "--json").well()
    assert {row["note"] for row in done.json["rows"]} == {None}
    assert "unlike" not in done.err
    assert "most of" not in done.err


# -- regions -----------------------------------------------------------------------------------------------------------


def test_rows_list_regions_where_asked(run: Run, map_model: Path, mixed: Path, tmp_path: Path) -> None:
    done = run("score", map_model, mixed, "--regions", "--out", tmp_path / "t.jsonl").well()
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert run("score", map_model, mixed, "--regions", "--json").well().json["rows"] == rows
    assert [list(row) for row in rows] == [[*COLUMNS, "regions"]] * 15
    assert all((row["regions"] is None) == (row["error"] is not None) for row in rows)
    found = load(map_model).regions(pictures_of(mixed))
    assert [row["regions"] for row in rows if row["error"] is None] == [[r.to_dict() for r in each] for each in found]
    assert any(found)
    assert not all(found)
    assert f"{sum(map(len, found))} regions in {sum(map(bool, found))} images" in done.err


def pictures_of(folder: Path) -> str:
    """The pictures of `mixed`, without the files that are none."""
    return f"{folder}/0[01][0-9].png"


def test_regions_are_not_found_where_nobody_asks(
    run: Run, map_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FittedModel, "regions_of", lambda *_: pytest.fail("regions were looked for"))
    run("score", map_model, pictures / "new").well()


def test_coco_and_masks_say_the_same(run: Run, map_model: Path, mixed: Path, tmp_path: Path) -> None:
    run("score", map_model, mixed, "--coco", tmp_path / "where.json", "--masks", tmp_path / "masks").well()
    coco = json.loads((tmp_path / "where.json").read_text())
    found = load(map_model).regions(pictures_of(mixed))
    files = {image["file_name"]: image["id"] for image in coco["images"]}
    assert [Path(name).name for name in files] == [f"{index:03}.png" for index in range(12)]
    assert all((image["width"], image["height"]) == (16, 16) for image in coco["images"])
    assert len(coco["annotations"]) == sum(map(len, found))
    assert len(names(tmp_path / "masks")) == 12
    for (name, number), regions in zip(files.items(), found, strict=True):
        boxes = [each["bbox"] for each in coco["annotations"] if each["image_id"] == number]
        assert boxes == [list(region.box) for region in regions]
        with Image.open(tmp_path / "masks" / picture_name(name, "mask.png")) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (16, 16))
            mask = np.asarray(picture)
        assert set(np.unique(mask)) <= {0, 255}
        np.testing.assert_array_equal(mask > 0, sum((region.mask() for region in regions), np.zeros((16, 16), bool)))


def test_masks_and_heatmaps_may_share_a_folder(run: Run, map_model: Path, pictures: Path, tmp_path: Path) -> None:
    run("score", map_model, pictures / "new", "--masks", tmp_path / "out", "--heatmaps", tmp_path / "out").well()
    assert len(names(tmp_path / "out")) == 24


def test_regions_after_a_resume_equal_an_unbroken_run(run: Run, map_model: Path, mixed: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "t.jsonl", ("--regions", "--masks", tmp_path / "masks")
    broken_run(run, map_model, mixed, out, 6, *options)
    run("score", map_model, mixed, "--out", out, "--resume").failed(1, "t.jsonl.partial", "differs in its regions")
    run("score", map_model, mixed, "--out", out, "--resume", *options).well()
    whole = run("score", map_model, mixed, "--regions", "--json").well().json["rows"]
    resumed = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["name"] for row in resumed] == [row["name"] for row in whole]
    boxes = [[[region["box"] for region in row["regions"] or []] for row in rows] for rows in (resumed, whole)]
    assert boxes[0] == boxes[1]
    assert len(names(tmp_path / "masks")) == 12


def test_regions_that_cannot_be_written_are_bad_usage(
    run: Run, model: Path, map_model: Path, pictures: Path, tmp_path: Path
) -> None:
    new, coco = pictures / "new", tmp_path / "where.json"
    run("score", map_model, new, "--regions").failed(2, "--out", "--json")
    run("score", map_model, new, "--regions", "--out", tmp_path / "t.csv").failed(2, "t.csv", ".jsonl")
    run("score", map_model, new, "--coco", coco, "--out", tmp_path / "t.csv", "--resume").failed(2, "--resume")
    run("score", map_model, new, "--coco", tmp_path / "missing" / "where.json").failed(1, "missing")
    for options in (("--regions", "--out", tmp_path / "t.jsonl"), ("--coco", coco), ("--masks", tmp_path / "masks")):
        run("score", model, new, *options).failed(2, "map")
    assert names(tmp_path) == []


def test_a_broken_run_leaves_no_coco_file(run: Run, map_model: Path, mixed: Path, tmp_path: Path) -> None:
    broken_run(run, map_model, mixed, tmp_path / "t.csv", 6, "--coco", tmp_path / "where.json")
    assert names(tmp_path) == ["mixed", "t.csv.partial"]


# -- engines, inputs, errors -------------------------------------------------------------------------------------------


def test_engines_agree(run: Run, map_model: Path, pictures: Path) -> None:
    from amiss.engines import allowed_difference

    allowed = allowed_difference(load(map_model).calibration.scores["torch"])
    scores = {}
    for engine in ("torch", "onnxruntime"):
        rows = run("score", map_model, pictures / "new", "--engine", engine, "--json").well().json["rows"]
        scores[engine] = np.array([row["score"] for row in rows])
    assert np.abs(scores["torch"] - scores["onnxruntime"]).max() <= allowed


@pytest.mark.parametrize("engine", ["cuda", "onnx", "", "x-bfloat16"])
def test_unknown_engine_is_bad_usage(engine: str, run: Run, model: Path, pictures: Path) -> None:
    run("score", model, pictures / "new", "--engine", engine).failed(2, "onnxruntime")


def test_several_inputs_keep_their_order(run: Run, model: Path, pictures: Path) -> None:
    new = pictures / "new"
    done = run("score", model, new / "007.png", f"{new}/00[12].png", new / "000.png").well()
    assert [Path(row["name"]).stem for row in csv_rows(done.out)] == ["007", "001", "002", "000"]


def test_colour_and_other_sizes_are_scored(run: Run, model: Path, tmp_path: Path) -> None:
    for index, size in enumerate([(1, 1), (300, 7), (64, 64)]):
        Image.new(("RGB", "L", "RGBA")[index], size).save(tmp_path / f"{index}.png")
    rows = csv_rows(run("score", model, tmp_path).well().out)
    assert [row["error"] for row in rows] == ["", "", ""]


def test_bad_inputs_are_explained(run: Run, model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "text.amiss").write_text("hello")
    new = pictures / "new"
    run("score", tmp_path / "missing.amiss", new).failed(1, "missing.amiss")
    run("score", tmp_path / "text.amiss", new).failed(1, "text.amiss")
    run("score", tmp_path / "empty", new).failed(1, "empty")
    run("score", model, tmp_path / "missing").failed(2, "missing")
    run("score", model, tmp_path / "empty").failed(1, "empty")
    run("score", model, tmp_path / "note.txt").failed(1, "note.txt")
    run("score", model, model).failed(1, "adacl.amiss")
    run("score", model, "mnist:tset").failed(2, "tset")


def test_json_errors_are_one_document(run: Run, tmp_path: Path) -> None:
    done = run("score", tmp_path / "missing.amiss", tmp_path, "--json")
    done.failed(1, "missing.amiss")
    assert "missing.amiss" in done.json["error"]
