"""Labels of one's own videos by `events.csv`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.data import open_images
from amiss.data.clips import runs
from amiss.data.labels import read_table
from amiss.errors import DataError
from amiss.evaluation.evaluate import evaluate_model
from amiss.testing.videos import crossing, write_video


@pytest.fixture
def hall(tmp_path: Path) -> Path:
    """Two videos: `a.mp4`, in which it goes too fast from frame 20 to 29, and `day/b.mp4`."""
    write_video(tmp_path / "a.mp4", crossing([1] * 20 + [12] * 10 + [1] * 30))
    write_video(tmp_path / "day" / "b.mp4", crossing(1, 40, seed=1))
    return tmp_path


def events(folder: Path, *lines: str, head: str = "video,start,end") -> Path:
    (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n")
    return folder


def test_stretches_are_anomalous_and_all_else_is_normal(hall: Path) -> None:
    events(hall, "a.mp4,20,29,run", "a.mp4,59,59,", head="video,start,end,kind")
    for purpose in ("score", "eval"):
        items = open_images(hall, purpose)  # type: ignore[arg-type]
        assert [number for number, item in enumerate(items) if item.anomalous] == [*range(20, 30), 59]
        assert {item.anomalous for item in items} == {True, False}
        assert (items[20].kind, items[59].kind, items[0].kind) == ("run", None, "good")
        assert {item.video for item in items} == {item.group for item in items}
    assert "events.csv calls 11 of 100 frames" in items.notes[-1]
    assert [item.name for item in items[20:22]] == [f"{hall.as_posix()}/a.mp4[{number}]" for number in (20, 21)]


def test_names_of_folders_label_nothing_then(tmp_path: Path) -> None:
    write_video(tmp_path / "good" / "a.mp4", crossing(1, 10))
    write_video(tmp_path / "run" / "b.mp4", crossing(1, 10))
    events(tmp_path, "./good/a.mp4,2,3")
    assert len(open_images(tmp_path, "fit")) == 20
    assert sum(bool(item.anomalous) for item in open_images(tmp_path, "eval")) == 2


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    for folder in (tmp_path / "in", tmp_path / "in" / "door"):
        folder.mkdir()
        for number in range(12):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / f"{number}.png")
    items = open_images(events(tmp_path / "in", "door/,10,11", ".,0,1"), "eval")
    named = [item.name.removeprefix(f"{tmp_path.as_posix()}/in/") for item in items if item.anomalous]
    assert sorted(named) == ["0.png", "1.png", "door/10.png", "door/11.png"]
    assert len({item.video for item in items}) == 2


def test_in_a_root_with_train_and_test_each_is_asked_for_its_own(tmp_path: Path) -> None:
    write_video(tmp_path / "train" / "a.mp4", crossing(1, 10))
    write_video(tmp_path / "test" / "b.mp4", crossing(1, 12))
    events(tmp_path, "train/a.mp4,0,2", "test/b.mp4,5,11")
    assert len(open_images(tmp_path, "fit").normal) == 7
    assert [bool(item.anomalous) for item in open_images(tmp_path, "eval")] == [False] * 5 + [True] * 7


def test_no_clip_spans_what_was_left_out(hall: Path) -> None:
    normal = open_images(events(hall, "a.mp4,20,29", "a.mp4,40,40"), "fit").normal
    assert len(normal) == 89
    numbers = [int(item.name.rpartition("[")[2][:-1]) for item in normal]
    firsts = runs(list(normal), [None] * len(normal))
    assert [numbers[first] for first in np.unique(firsts)] == [0, 30, 41, 0]
    assert {normal[int(first)].video for first in firsts[:49]} == {f"{hall.as_posix()}/a.mp4"}


def test_only_the_normal_frames_are_learnt_and_their_videos_left_out_of_an_evaluation(tmp_path: Path) -> None:
    for day in range(3):
        write_video(tmp_path / f"{day}.mp4", crossing([1] * 40 + [12] * 50 + [1] * 30, seed=day))
    events(tmp_path, *(f"{day}.mp4,40,89" for day in range(3)))
    model = amiss.FrameDifference(false_alarm_rate=0.05).fit(tmp_path).model_
    splits = model.record.splits
    assert sum(part.count for part in (splits.train, splits.stop, splits.calibrate)) == 3 * 70
    assert any("150 of 360 frames" in note for note in model.record.notes)
    other = tmp_path / "other"
    write_video(other / "x.mp4", crossing([1] * 40 + [12] * 30, seed=9))
    metrics = evaluate_model(model, events(other, "x.mp4,40,69,run", head="video,start,end,kind")).metrics
    assert metrics["auroc"]["value"] > 0.9
    assert metrics["events"]["labelled"] == metrics["events"]["detected"] == 1
    assert metrics["kinds"].keys() == {"run"}
    with pytest.raises(DataError, match="fitted on them"):
        evaluate_model(model, [tmp_path])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("c.mp4,0,1", ["line 3", "c.mp4 is no video in", "such as a.mp4"]),
        ("b.mp4,0,1", ["line 3", "b.mp4 is no video in"]),
        ("a.mp4,x,1", ["line 3", "start is 'x'", "counted from 0"]),
        ("a.mp4,1,-2", ["line 3", "end is '-2'"]),
        ("a.mp4,1.5,2", ["line 3", "start is '1.5'"]),
        ("a.mp4,9,4", ["line 3", "start 9 comes after end 4"]),
        ("a.mp4,50,60", ["line 3", "end 60 is past the last frame of a.mp4, which is 59"]),
        ("a.mp4,,4", ["line 3", "'start' is empty"]),
        ("a.mp4,4", ["line 3", "2 fields where 3"]),
    ],
)
def test_what_is_wrong_in_the_table_is_told_with_its_line(hall: Path, line: str, words: list[str]) -> None:
    events(hall, "a.mp4,20,29", line)
    for purpose in ("fit", "score", "eval"):
        with pytest.raises(DataError) as caught:
            open_images(hall, purpose)  # type: ignore[arg-type]
        for word in ("events.csv", *words):
            assert word in str(caught.value)


def test_missing_columns_and_normal_kinds_are_told(hall: Path) -> None:
    with pytest.raises(DataError, match=r"events\.csv, line 1: there is no column 'end'"):
        open_images(events(hall, "a.mp4,20", head="video,start"))
    with pytest.raises(DataError, match="line 2: the kind 'Good' means normal"):
        open_images(events(hall, "a.mp4,20,22,Good", head="video,start,end,kind"))


def test_a_file_that_cannot_be_opened_is_a_row_as_ever(hall: Path) -> None:
    (hall / "c.mp4").write_bytes(b"nothing")
    items = open_images(events(hall, "a.mp4,20,29", "c.mp4,0,5"))
    broken = [item for item in items if item.name.endswith("c.mp4")]
    assert len(broken) == 1
    with pytest.raises(DataError, match=r"c\.mp4"):
        broken[0].read()


# -- tables as spreadsheets write them -------------------------------------------------------------------------------


@pytest.mark.parametrize("divider", [",", ";", "\t"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_spreadsheets(tmp_path: Path, divider: str, first: str, encoding: str) -> None:
    lines = ["file,group,kind", '"a, b.png",7,good', ",,", "c.png,8,crack"]
    rows = [
        line.replace(",", divider) if "a, b" not in line else f'"a, b.png"{divider}7{divider}good' for line in lines
    ]
    text = first.format(divider) + "\r\n".join(rows) + "\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    found = list(read_table(tmp_path / "t.csv", ("file",)))
    line = 2 + bool(first)
    assert found == [
        (f"{tmp_path / 't.csv'}, line {line}", {"file": "a, b.png", "group": "7", "kind": "good"}),
        (f"{tmp_path / 't.csv'}, line {line + 2}", {"file": "c.png", "group": "8", "kind": "crack"}),
    ]


def test_a_missing_column_is_named_whatever_divides(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name;group\na.png;1\n")
    with pytest.raises(DataError, match="line 1: there is no column 'file'"):
        list(read_table(tmp_path / "t.csv", ("file",)))


def test_boxes_with_commas_before_decimals(tmp_path: Path) -> None:
    Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(tmp_path / "0.png")
    (tmp_path / "b.csv").write_text("file;x;y;width;height\n0.png;1,6;2,4;3,0;2\n")
    np.testing.assert_array_equal(
        open_images(f"{tmp_path}:boxes=b.csv")[0].read(), np.arange(80).reshape(8, 10)[2:4, 2:5]
    )
    (tmp_path / "b.csv").write_text("file;x;y;width;height\n0.png;1,6,2;2;3;2\n")
    with pytest.raises(DataError, match=r"line 2: x is '1,6,2'"):
        open_images(f"{tmp_path}:boxes=b.csv")
