"""Nothing lost between runs: one writer for every output, runs that do not mix, and an end in good order."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from amiss.cli.score import _fed
from amiss.environment.outputs import only_writer
from amiss.errors import WriteError
from amiss.testing.videos import crossing, write_video

Run = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
CODE = 128 + signal.SIGTERM


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too, sorted."""
    return sorted(path.name for path in folder.iterdir())


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture(scope="module")
def pca(tmp_path_factory: pytest.TempPathFactory, pictures: Path, run: Run) -> Path:
    """A model with maps, fitted in no time."""
    path = tmp_path_factory.mktemp("pca") / "m.amiss"
    run("fit", pictures / "good", "--out", path, "--method", "pca", "--false-alarm-rate", 0.1).well()
    return path


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """`hall.amiss`, and `today.mkv` with two events."""
    folder = tmp_path_factory.mktemp("hall")
    write_video(folder / "normal.mp4", crossing(1, 300))
    fast = [1] * 60 + [12] * 40
    write_video(folder / "today.mkv", crossing([*fast, *fast, *[1] * 30], seed=9))
    fitted = ("--method", "frame_difference", "--false-alarm-rate", 0.05)
    run("fit", folder / "normal.mp4", "--out", folder / "hall.amiss", *fitted).well()
    return folder


# -- one writer --------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    for path in (tmp_path / "x.csv", tmp_path):
        with only_writer(path):
            with pytest.raises(WriteError, match=rf"{path} is being written .*process {os.getpid()}.* another --out"):
                only_writer(path).__enter__()
            assert len(names(tmp_path)) == 1, "a hidden file"
        assert names(tmp_path) == []
        with only_writer(path):
            pass


def test_a_lock_ends_with_its_process(tmp_path: Path, start: Run, pca: Path, pictures: Path) -> None:
    process = start("score", pca, *[pictures / "good"] * 60, "--out", tmp_path / "x.csv")
    wait_for(tmp_path / "x.csv.partial", process)
    with pytest.raises(WriteError, match=f"process {process.pid}"):
        only_writer(tmp_path / "x.csv").__enter__()
    process.kill()
    process.communicate()
    with only_writer(tmp_path / "x.csv"):
        pass
    assert names(tmp_path) == ["x.csv.partial"]


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("verb", ["score", "fit", "teach", "watch", "explain", "demo", "heatmaps"])
def test_every_verb_refuses_what_another_writes(
    verb: str, run: Run, pca: Path, pictures: Path, hall: Path, tmp_path: Path
) -> None:
    new, out = pictures / "new", tmp_path / "out"
    commands = {
        "score": ("score", pca, new, "--out", tmp_path / "t.csv"),
        "fit": ("fit", pictures / "good", "--out", tmp_path / "m.amiss", "--method", "pca"),
        "teach": ("teach", pca, "--normal", new, "--anomalous", new, "--out", tmp_path / "m.amiss"),
        "watch": ("watch", hall / "hall.amiss", hall / "today.mkv", "--out", out),
        "explain": ("explain", pca, new, "--with", "residual", "--out", out),
        "demo": ("demo", "--out", out),
        "heatmaps": ("score", pca, new, "--heatmaps", out),
    }
    out.mkdir()
    with contextlib.ExitStack() as stack:
        for path in (tmp_path / "t.csv", tmp_path / "m.amiss", out):
            stack.enter_context(only_writer(path))
        option = "--heatmaps" if verb == "heatmaps" else "--out"
        run(*commands[verb]).failed(1, "is being written by another amiss", f"another {option}")
    assert names(tmp_path) == ["out"]
    assert names(out) == []


# -- runs do not mix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--heatmaps", "--masks"])
def test_pictures_of_two_runs_do_not_mix(option: str, run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.png").touch()
    run("score", pca, pictures / "new", option, folder).well()
    assert len(names(folder)) == 13
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    one = pictures / "good" / "000.png"
    run("score", pca, one, option, folder).failed(1, str(folder), "12 files of an earlier run", "--overwrite")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    run("score", pca, one, option, folder, "--overwrite").well()
    assert len(names(folder)) == 2
    assert "mine.png" in names(folder)


def test_overwrite_spares_other_files_and_removes_nothing_for_a_run_that_is_refused(
    run: Run, pca: Path, pictures: Path, tmp_path: Path
) -> None:
    folder, new = tmp_path / "out", pictures / "new"
    run("score", pca, new, "--heatmaps", folder).well()
    for name in ("cam1-20240131.png", "cam1-20240131.mp4"):  # eight digits, as a digest may have
        (folder / name).touch()
    before = names(folder)
    (tmp_path / "t.csv.partial").write_text("of a broken run")
    again = ("score", pca, pictures / "good" / "000.png", "--heatmaps", folder)
    run(*again, "--out", tmp_path / "t.csv").failed(1, "12 files of an earlier run")
    assert (tmp_path / "t.csv.partial").read_text() == "of a broken run"
    run(*again, "--overwrite", "--out", tmp_path / "t.xlsx").failed(2, "t.xlsx")
    run(*again, "--overwrite", "--out", tmp_path / "missing" / "t.csv").failed(1, "missing")
    run(*again, "--overwrite", "--coco", tmp_path / "missing" / "c.json").failed(1, "missing")
    assert names(folder) == before
    run(*again, "--overwrite").well()
    assert len(names(folder)) == 3
    assert {"cam1-20240131.png", "cam1-20240131.mp4"} < set(names(folder))


def test_two_kinds_of_pictures_of_one_run_share_a_folder(run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    run("score", pca, pictures / "new", "--heatmaps", tmp_path / "out", "--masks", tmp_path / "out").well()
    assert len(names(tmp_path / "out")) == 24


def test_explanations_of_two_runs_do_not_mix(run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "why"
    explained = ("explain", pca, pictures / "new" / "000.png", "--with", "residual", "--out", folder)
    run(*explained).well()
    assert len(names(folder)) == 2
    run(*explained).failed(1, "2 files of an earlier run", "--overwrite")
    run("explain", pca, pictures / "new" / "001.png", "--with", "residual", "--out", folder, "--overwrite").well()
    (record,) = map(json.loads, (folder / "explanations.jsonl").read_text().splitlines())
    assert sorted(["explanations.jsonl", record["picture"]]) == names(folder)
    assert record["name"].endswith("001.png")


def test_events_are_numbered_on_and_no_film_is_written_over(run: Run, hall: Path, tmp_path: Path) -> None:
    watched = ("watch", hall / "hall.amiss", hall / "today.mkv", "--out", tmp_path, "--json")
    first = [json.loads(line) for line in run(*watched).well().out.splitlines()]
    films = {path.name: path.read_bytes() for path in tmp_path.glob("*.mp4")}
    assert sorted(films) == ["event-0001.mp4", "event-0002.mp4"]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "start", "num')  # what a power cut leaves
    (tmp_path / "event-0003.mp4.partial").touch()
    second = [json.loads(line) for line in run(*watched).well().out.splitlines()]
    assert [record["number"] for record in second[:-1]] == [4, 4, 5, 5]
    assert first[-1] == second[-1], "each run counts its own"
    assert all((tmp_path / name).read_bytes() == content for name, content in films.items())
    records = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert records == first[:-1] + second[:-1]
    clips = [record["clip"] for record in records if record["event"] == "end"]
    assert clips == [f"event-000{number}.mp4" for number in (1, 2, 4, 5)]
    assert all((tmp_path / clip).is_file() for clip in clips)


# -- cut videos --------------------------------------------------------------------------------------------------------


def test_a_cut_video_is_told_by_watch_and_score(run: Run, hall: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    content = (hall / "today.mkv").read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    watched = ("watch", hall / "hall.amiss", cut, "--out", tmp_path / "out", "--json")
    records = [json.loads(line) for line in run(*watched).well().out.splitlines()]
    damaged, stopped = records[-2:]
    assert (damaged["event"], damaged["video"], damaged["unreadable"]) == ("damaged", cut.as_posix(), 1)
    assert "is cut" in damaged["error"]
    assert stopped["unreadable"] == 1
    assert (tmp_path / "out" / "events.jsonl").read_text().splitlines()[-1] == json.dumps(damaged)
    assert run(*watched, "--strict").code == 1
    assert run("watch", hall / "hall.amiss", hall / "today.mkv", "--strict").code == 0
    done = run("score", hall / "hall.amiss", cut, "--out", tmp_path / "t.csv").well()
    assert "1 could not be read" in done.err
    rows = rows_of(tmp_path / "t.csv")
    assert (rows[-1]["name"], rows[-1]["score"]) == (cut.as_posix(), "")
    assert "frames are missing" in rows[-1]["error"]
    assert len(rows) == stopped["frames"] + 1
    assert run("score", hall / "hall.amiss", cut, "--strict").code == 1


def test_strict_fails_for_one_unreadable_image(run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "mvtec" / "test", tmp_path / "test")
    assert run("score", pca, tmp_path / "test", "--strict").code == 0
    assert run("eval", pca, tmp_path / "test", "--strict").code == 0
    (tmp_path / "test" / "good" / "x.png").touch()
    assert run("score", pca, tmp_path / "test", "--strict").code == 1
    assert run("score", pca, tmp_path / "test").code == 0
    assert run("eval", pca, tmp_path / "test", "--strict").code == 1
    assert run("explain", pca, tmp_path / "test" / "good", "--most", 1, "--with", "residual", "--strict").code == 1


# -- further columns, and tables that grow -----------------------------------------------------------------------------


def test_frames_have_their_time_and_rows_their_heatmap(run: Run, hall: Path, tmp_path: Path) -> None:
    table, maps = tmp_path / "t.csv", tmp_path / "maps"
    run("score", hall / "hall.amiss", hall / "today.mkv", "--out", table, "--heatmaps", maps).well()
    rows = rows_of(table)
    assert list(rows[0])[5:] == ["note", "time", "map"]
    assert [float(row["time"]) for row in rows] == pytest.approx([n / 25 for n in range(230)], abs=0.002)
    assert sorted(Path(row["map"]).name for row in rows) == names(maps)
    assert Path(rows[7]["map"]).parent == maps
    with Image.open(rows[7]["map"]) as picture:
        assert picture.size == (64, 48)
    out = run("score", hall / "hall.amiss", hall / "today.mkv").well().out.splitlines()
    assert out[0].endswith(",error,note,time")
    assert out[26].endswith(",1.0")


def test_a_table_grows_by_what_is_new(run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    days, table = tmp_path / "days", tmp_path / "all.csv"
    days.mkdir()
    for number in range(6):
        shutil.copy(pictures / "new" / f"{number:03}.png", days / f"{number}.png")
    daily = ("score", pca, days, "--out", table, "--resume", "--heatmaps", tmp_path / "maps")
    run(*daily).well()
    first = table.read_bytes()
    maps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "maps").iterdir()}
    done = run(*daily).well()
    assert "0 of 0 images are amiss (6 more had been scored before)" in done.err.replace("\n", " ")
    assert table.read_bytes() == first
    shutil.copy(pictures / "new" / "007.png", days / "0a.png")
    (days / "9.png").touch()
    done = run(*daily, "--report", tmp_path / "p.html").well()
    assert "of 2 images are amiss, 1 could not be read (6 more had been scored before)" in done.err
    assert table.read_bytes().startswith(first)
    assert [Path(row["name"]).name for row in rows_of(table)[6:]] == ["0a.png", "9.png"]
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert all(f"{name}.png" in page for name in ("3", "0a", "9"))
    assert {name: (tmp_path / "maps" / name).stat().st_mtime_ns for name in maps} == maps
    shutil.copy(pictures / "new" / "010.png", days / "2.png")
    later = table.stat().st_mtime + 5
    os.utime(days / "2.png", (later, later))
    done = run(*daily).well()
    assert "1 of them again, because their files were changed" in done.err
    assert [Path(row["name"]).name for row in rows_of(table)] == [
        *["0.png", "1.png", "3.png", "4.png", "5.png", "0a.png", "9.png", "2.png"]
    ]
    alone = run("score", pca, days / "2.png").well().out.splitlines()[1].split(",")
    assert float(rows_of(table)[-1]["score"]) == pytest.approx(float(alone[1]), rel=1e-5)


def test_what_could_not_be_read_is_tried_again(run: Run, pca: Path, pictures: Path, tmp_path: Path) -> None:
    """In its place; and while it cannot be read, --strict says so on every run."""
    days, table, whole = tmp_path / "days", tmp_path / "all.csv", tmp_path / "whole.csv"
    days.mkdir()
    for number in range(4):
        shutil.copy(pictures / "new" / f"{number:03}.png", days / f"{number}.png")
    picture = (days / "1.png").read_bytes()
    (days / "1.png").write_bytes(picture[:40])
    shutil.copy(days / "1.png", days / "2b.png")
    before = time.time() - 100
    for path in days.iterdir():
        os.utime(path, (before, before))
    resumed = ("score", pca, days, "--out", table, "--resume")
    run(*resumed).well()
    first = table.read_bytes()
    assert run(*resumed, "--strict").code == 1
    done = run(*resumed).well()
    assert "0 of 2 images are amiss, 2 could not be read (3 more had been scored before)" in done.err.replace("\n", " ")
    assert table.read_bytes() == first
    (days / "1.png").write_bytes(picture)
    os.utime(days / "1.png", (before, before))
    done = run(*resumed, "--report", tmp_path / "p.html").well()
    assert "(2 of them again, because they could not be read before)" in done.err.replace("\n", " ")
    run("score", pca, days, "--out", whole).well()
    assert [(row["name"], row["error"]) for row in rows_of(table)] == [
        (row["name"], row["error"]) for row in rows_of(whole)
    ]
    score = [float(rows_of(path)[1]["score"]) for path in (table, whole)]
    assert score[0] == pytest.approx(score[1], rel=1e-5)


def test_a_table_with_errors_that_is_resumed_equals_an_unbroken_one(
    run: Run, pca: Path, pictures: Path, tmp_path: Path
) -> None:
    """To the last byte: what is tried again does not shift the batches of the others."""
    folder, table, partial = tmp_path / "good", tmp_path / "t.csv", tmp_path / "t.csv.partial"
    shutil.copytree(pictures / "good", folder)
    (folder / "001b.png").touch()
    scored = ("score", pca, *[folder] * 3, "--out", table)
    run(*scored).well()
    whole = table.read_bytes()
    with broken_tables():
        assert run(*scored).code != 0
    lines = partial.read_bytes().splitlines(keepends=True)
    for kept in (4, len(lines) // 2, len(lines) - 1, len(lines)):
        table.unlink(missing_ok=True)
        partial.write_bytes(b"".join(lines[:kept]))
        run(*scored, "--resume").well()
        assert table.read_bytes() == whole


def test_a_table_does_not_grow_by_another_model_or_rate(
    run: Run, pca: Path, map_model: Path, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    run("score", pca, pictures / "new", "--out", table).well()
    before = table.read_bytes()
    for model, options in ((map_model, ()), (pca, ("--false-alarm-rate", 0.5))):
        again = ("score", model, pictures / "good", "--out", table, "--resume", *options)
        run(*again).failed(1, "was written with another model, engine or false-alarm rate")
        assert names(tmp_path) == ["t.csv"]
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("new", "clip", "together", "expected"),
    [
        (range(10), 1, 4, list(range(10))),
        ([], 5, 4, []),
        ([6, 7, 8, 9], 1, 4, [4, 5, 6, 7, 8, 9]),
        ([8, 9], 3, 4, [4, 5, 6, 7, 8, 9]),
        ([2, 5], 1, 4, [2, 5]),
        ([2, 6], 3, 4, [0, 1, 2, 4, 5, 6]),
    ],
)
def test_what_is_scored_again_before_what_is_new(new: list[int], clip: int, together: int, expected: list[int]) -> None:
    """The rest of its batch, and the frames that clips need."""
    assert list(_fed(new, 10, clip, together)) == expected


def test_a_resumed_table_of_clips_equals_an_unbroken_one(run: Run, hall: Path, tmp_path: Path) -> None:
    """Clips behind the break hold the frames before it."""
    table, partial = tmp_path / "t.csv", tmp_path / "t.csv.partial"
    scored = ("score", hall / "hall.amiss", hall / "today.mkv", "--out", table)
    run(*scored).well()
    whole = table.read_bytes()
    with broken_tables():
        assert run(*scored).code != 0
    lines = partial.read_bytes().splitlines(keepends=True)
    table.unlink()
    partial.write_bytes(b"".join(lines[:101]))
    done = run(*scored, "--resume").well()
    assert "100 more had been scored before" in done.err
    assert table.read_bytes() == whole


@contextlib.contextmanager
def broken_tables() -> Iterator[None]:
    """No table is finished."""

    def broken(table: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amiss.report.table.ResultTable.finish", broken)
        yield


# -- SIGTERM -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program could heed")
def test_sigterm_ends_a_score_at_any_moment_and_nothing_is_lost(
    start: Run, run: Run, pca: Path, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    scored = ("score", pca, *[pictures / "good"] * 60, "--out", table, "--engine", "onnxruntime")
    process = start(*scored)
    wait_for(tmp_path / "t.csv.partial", process)
    time.sleep(random.Random(os.getpid()).uniform(0, 0.5))
    assert ended_by_sigterm(process) in (("", "amiss: stopped\n"), ("", "")), "or ended all the same, where time is up"
    assert names(tmp_path) == ["t.csv.partial"]
    run(*scored, "--resume").well()
    run("score", pca, *[pictures / "good"] * 60, "--out", tmp_path / "w.csv", "--engine", "onnxruntime").well()
    assert table.read_bytes() == (tmp_path / "w.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program could heed")
def test_sigterm_ends_a_watch_with_the_event_told_and_its_film_kept(start: Run, hall: Path, tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", crossing([1] * 60 + [12] * 4000, seed=9))
    for attempt in range(3):  # on a machine that others keep busy, two seconds may not be enough
        out = tmp_path / str(attempt)
        process = start("watch", hall / "hall.amiss", long, "--out", out, "--json")
        wait_for(out / "event-0001.mp4.partial", process)
        _, err = ended_by_sigterm(process)
        records = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        assert records[0]["event"] == "start"
        if err == "amiss: stopped\n":
            break
    begun, ended = records
    assert (ended["event"], ended["number"], ended["clip"]) == ("end", begun["number"], "event-0001.mp4")
    assert names(out) == ["event-0001.mp4", "events.jsonl"]


def ended_by_sigterm(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Its output and errors; fails where it takes longer than it may."""
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    taken = time.monotonic() - begin
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    start = time.monotonic() - begin  # some hundredths of a second, unless others keep the machine busy
    assert process.returncode == CODE, err
    assert taken < 2 + 10 * start
    assert "Traceback" not in err
    return out, err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program could heed")
def test_what_does_not_heed_sigterm_is_ended(tmp_path: Path) -> None:
    """As one long computation in C does not."""
    code = (
        "import ctypes, amiss.cli as cli\n"
        "def deaf():\n"
        "    print('in', flush=True)\n"
        "    while True:\n"
        "        try: ctypes.CDLL(None).sleep(30)\n"
        "        except KeyboardInterrupt: pass\n"
        "cli._main = deaf\n"
        "cli.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    ended_by_sigterm(process)
