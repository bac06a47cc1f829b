"""Crops lie where their boxes are, and a table that cannot be meant says where."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from amiss.data.boxes import CROPS, Box, boxes_collection
from amiss.errors import DataError, UsageError

numbers = st.floats(-60, 60, width=16)
lengths = st.floats(0, 80, width=16)
boxes = st.builds(Box, numbers, numbers, lengths, lengths)
sizes = st.integers(1, 50)
any_float = st.floats(allow_nan=False, allow_infinity=False)
any_length = st.floats(0, allow_nan=False, allow_infinity=False)


def taken(start: float, length: float, factor: float, size: int) -> list[int]:
    """The pixels of which at least a half, counted from the nearer edge, lies in the enlarged interval; exactly."""
    centre = Fraction(start) + Fraction(length) / 2
    half = Fraction(length) * Fraction(factor) / 2
    first, last = centre - half, centre + half
    # the edge between pixels i - 1 and i is at i: pixel i is in where its edges come after the rounded ones
    return [i for i in range(size) if first < i + Fraction(1, 2) and last >= i + Fraction(1, 2)]


@given(box=boxes, height=sizes, width=sizes, crop=st.sampled_from(sorted(CROPS)))
def test_a_window_holds_the_pixels_whose_centres_are_in_the_box(box: Box, height: int, width: int, crop: str) -> None:
    rows, columns = box.window(height, width, crop)
    wide, high = CROPS[crop]
    assert list(range(rows.start, rows.stop)) == taken(box.y, box.height, high, height)
    assert list(range(columns.start, columns.stop)) == taken(box.x, box.width, wide, width)


@given(x=any_float, y=any_float, width=any_length, height=any_length, rows=sizes, columns=sizes)
def test_oversize_holds_plain_and_both_lie_in_the_image(
    x: float, y: float, width: float, height: float, rows: int, columns: int
) -> None:
    box = Box(x, y, width, height)
    inner, outer = box.window(rows, columns), box.window(rows, columns, "oversize")
    for small, large, size in zip(inner, outer, (rows, columns), strict=True):
        assert 0 <= large.start <= small.start <= small.stop <= large.stop <= size


@given(x=st.integers(-5, 25), y=st.integers(-5, 25), width=st.integers(1, 12), height=st.integers(1, 12), size=sizes)
def test_whole_boxes_are_cut_as_pillow_cuts(x: int, y: int, width: int, height: int, size: int) -> None:
    picture = np.arange(size * 20, dtype=np.uint16).reshape(size, 20)
    expected = Image.fromarray(picture).crop((max(x, 0), max(y, 0), max(x + width, 0), max(y + height, 0)))
    inside = np.asarray(expected)[: max(0, size - max(y, 0)), : max(0, 20 - max(x, 0))]
    found = picture[Box(x, y, width, height).window(size, 20)]
    np.testing.assert_array_equal(found.ravel(), inside.ravel())


@given(x=st.integers(0, 99), width=st.integers(0, 20), y=st.integers(0, 99), height=st.integers(0, 20))
def test_oversize_is_two_and_a_half_wide_and_one_and_a_half_high(x: int, width: int, y: int, height: int) -> None:
    box = Box(1000 + 4 * x, 1000 + 4 * y, 4 * width, 4 * height)  # in fours, so that nothing is rounded
    rows, columns = box.window(5000, 5000, "oversize")
    assert columns.stop - columns.start == 10 * width
    assert rows.stop - rows.start == 6 * height
    assert columns.start + columns.stop == 2 * box.x + box.width
    assert rows.start + rows.stop == 2 * box.y + box.height


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with 12 wide, 10 high pictures `frames/a.png` (gray) and `frames/cam/b.png` (colour)."""
    (tmp_path / "frames" / "cam").mkdir(parents=True)
    gray = np.arange(120, dtype=np.uint8).reshape(10, 12)
    Image.fromarray(gray).save(tmp_path / "frames" / "a.png")
    Image.fromarray(np.dstack([gray, gray + 100, gray])).save(tmp_path / "frames" / "cam" / "b.png")
    (tmp_path / "frames" / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(frames: Path, *rows: str, columns: str = "file,x,y,width,height") -> str:
    (frames / "boxes.csv").write_text("\n".join([columns, *rows]))
    return "boxes.csv"


def test_crops_of_a_tree(frames: Path) -> None:
    rows = ["a.png,4,3,2,4", "a.png,-2,8.6,5,9", "./cam\\b.png,0,0,12,10"]
    plain = boxes_collection("frames/", table(frames, *rows))
    assert [item.name for item in plain] == ["frames/a.png#0", "frames/a.png#1", "frames/cam/b.png#2"]
    assert [item.group for item in plain] == ["frames/a.png", "frames/a.png", "frames/cam/b.png"]
    assert [(item.kind, item.anomalous) for item in plain] == [(None, None)] * 3
    gray = np.arange(120, dtype=np.uint8).reshape(10, 12)
    np.testing.assert_array_equal(plain[0].read(), gray[3:7, 4:6])
    np.testing.assert_array_equal(plain[1].read(), gray[9:, :3])
    assert plain[2].read().shape == (10, 12, 3)
    oversize = boxes_collection("frames", "boxes.csv", crop="oversize")
    np.testing.assert_array_equal(oversize[0].read(), gray[2:8, 3:8])  # columns from 2.5 to 7.5
    assert [item.name for item in oversize] == [item.name for item in plain]
    assert (plain.title, oversize.title) == ("frames/:boxes=boxes.csv", "frames:boxes=boxes.csv:crop=oversize")


def test_a_crop_is_writable_and_does_not_hold_the_image(frames: Path) -> None:
    crop = boxes_collection("frames", table(frames, "a.png,4,3,2,4"))[0].read()
    crop[:] = 0
    assert crop.base is None


def test_labels_and_groups(frames: Path) -> None:
    columns = "group,anomalous,kind,file,x,y,width,height,score"
    start = ",a.png,1,1,4,4,0.9"
    rows = ["s1,TRUE,running", "s1,0,walking", ",1,", ",false,normal", ",,running", ",,"]
    rows = [*(row + start for row in rows), ",,,cam/b.png,1,1,4,4,0.9"]
    items = boxes_collection("frames", table(frames, *rows, columns=columns), "eval")[:6]
    assert [item.anomalous for item in items] == [True, False, True, False, True, None]
    assert [item.kind for item in items] == ["running", "walking", None, "good", "running", None]
    groups = [item.group for item in boxes_collection("frames", table(frames, *rows, columns=columns), "eval")]
    assert groups == [*["s1"] * 6, "frames/cam/b.png"]  # crops of one image are never divided


def test_kinds_alone_are_labels_only_where_one_is_normal(frames: Path) -> None:
    columns = "file,x,y,width,height,kind"
    rows = ["a.png,1,1,4,4,person", "a.png,1,1,4,4,Free"]
    items = boxes_collection("frames", table(frames, *rows, columns=columns), "fit")
    assert [(item.kind, item.anomalous) for item in items] == [("person", True), ("good", False)]
    items = boxes_collection("frames", table(frames, rows[0], columns=columns), "fit")
    assert [(item.kind, item.anomalous) for item in items] == [("person", None)]
    with pytest.raises(DataError, match=r"boxes\.csv labels no box"):
        boxes_collection("frames", "boxes.csv", "eval")


@pytest.mark.parametrize("crop", sorted(CROPS))
@pytest.mark.parametrize(
    "row", ["a.png,12,0,3,3", "a.png,-3,0,3,3", "a.png,0,10,3,3", "a.png,4,4,0,3", "a.png,4,4,.3,3"]
)
def test_a_box_without_pixels_fails_alone(frames: Path, row: str, crop: str) -> None:
    good, bad = boxes_collection("frames", table(frames, "a.png,4,3,2,4", row), crop=crop)
    assert good.read().size
    with pytest.raises(DataError, match=r"boxes\.csv, line 3: the box x .* has no pixel in frames/a\.png.* 12 wide"):
        bad.read()


def test_an_image_that_cannot_be_decoded_fails_alone(frames: Path) -> None:
    (frames / "frames" / "c.png").write_text("text")
    items = boxes_collection("frames", table(frames, "c.png,1,1,2,2", "a.png,1,1,2,2"))
    with pytest.raises(DataError, match=r"frames/c\.png is not a picture"):
        items[0].read()
    assert items[1].read().shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "line 1: there is no column 'file'"),
        ("file,x,y,width\na.png,1,1,2\n", "line 1: there is no column 'height'"),
        ("file,x,y,width,height\n", "lists no boxes"),
        ("file,x,y,width,height\na.png,1,1,2,2\na.png,1,1,2\n", "line 3: 4 fields where 5"),
        ("file,x,y,width,height\na.png,1,,2,2\n", "line 2: the field 'y' is empty"),
        ("file,x,y,width,height\na.png,1,left,2,2\n", "line 2: y is 'left'"),
        ("file,x,y,width,height\na.png,nan,1,2,2\n", "line 2: x is 'nan'"),
        ("file,x,y,width,height\na.png,1,1,2,inf\n", "line 2: height is 'inf'"),
        ("file,x,y,width,height\na.png,1,1,-2,2\n", "line 2: the box is -2 wide"),
        ("file,x,y,width,height\ngone.png,1,1,2,2\n", "line 2: frames/gone.png does not exist"),
        ("file,x,y,width,height\ncam,1,1,2,2\n", "line 2: frames/cam does not exist"),
        ("file,x,y,width,height\na.txt,1,1,2,2\n", "line 2: frames/a.txt is not an image file"),
        ("file,x,y,width,height,anomalous\na.png,1,1,2,2,yes\n", "line 2: anomalous is 'yes'"),
        ("file,x,y,width,height,anomalous,kind\na.png,1,1,2,2,1,good\n", "line 2: the kind 'good' is normal"),
        ("file,x,y,width,height\n\xe4.png,1,1,2,2\n", "UTF-8"),
    ],
)
def test_tables_that_cannot_be_meant(frames: Path, text: str, cause: str) -> None:
    (frames / "boxes.csv").write_text(text, "latin-1")
    with pytest.raises(DataError, match=cause) as caught:
        boxes_collection("frames", "boxes.csv")
    assert "boxes.csv" in str(caught.value)


def test_other_crops_are_refused(frames: Path) -> None:
    with pytest.raises(UsageError, match="plain or oversize"):
        boxes_collection("frames", table(frames, "a.png,1,1,2,2"), crop="tight")
