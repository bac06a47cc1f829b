from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data import Collection, open_images
from amiss.data.grammar import good_and_bad, in_memory
from amiss.errors import DataError, MissingDataError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with `parts/good/0.png`, `parts/crack/1.png` and `stack.npy` in it."""
    for i, kind in enumerate(("good", "crack")):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        Image.new("L", (4, 4), i).save(tmp_path / "parts" / kind / f"{i}.png")
    np.save(tmp_path / "stack.npy", np.zeros((2, 4, 5), np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMISS_DATA", str(tmp_path / "sets"))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("parts", ["parts/crack/1.png", "parts/good/0.png"]),
        (Path("parts"), ["parts/crack/1.png", "parts/good/0.png"]),
        ("parts/good/0.png", ["parts/good/0.png"]),
        ("parts/*/*.png", ["parts/crack/1.png", "parts/good/0.png"]),
        ("stack.npy", ["stack.npy[0]", "stack.npy[1]"]),
        (["parts/good/0.png", Path("stack.npy")], ["parts/good/0.png", "stack.npy[0]", "stack.npy[1]"]),
        (np.zeros((1, 4, 5), np.uint8), ["array[0]"]),
    ],
)
def test_sources(folder: Path, source: object, names: list[str]) -> None:
    collection = open_images(source)
    assert [item.name for item in collection] == names
    assert collection[0].read().dtype == np.uint8


BOXES = "file,x,y,width,height\ngood/0.png,1,1,2,2\n"


@pytest.mark.parametrize("folder_name", ["parts", "C:\\a b", "mnist", "odd:k=v", "1:crop=oversize", "a*[b]"])
@pytest.mark.parametrize("table_name", ["b.csv", "D:\\b.csv", "C:b", "b = 1.csv"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_boxes_of_a_folder(folder: Path, folder_name: str, table_name: str, slash: str) -> None:
    (folder / "parts").rename(folder / folder_name)
    (folder / table_name).write_text(BOXES)
    plain = open_images(f"{folder_name}{slash}:boxes={table_name}")
    assert [item.name for item in plain] == [f"{folder_name}/good/0.png#0"]
    assert plain[0].read().shape == (2, 2)
    oversize = open_images(f"{folder_name}{slash}:boxes={table_name}:crop=oversize")
    assert oversize[0].read().shape == (3, 4)
    assert open_images(f"{folder_name}{slash}:boxes={table_name}:crop=plain")[0].read().shape == (2, 2)


def test_the_table_of_boxes_may_lie_in_the_folder(folder: Path) -> None:
    (folder / "parts" / "b.csv").write_text(BOXES)
    assert open_images("parts:boxes=b.csv").title == "parts:boxes=parts/b.csv"
    (folder / "b.csv").write_text(BOXES)
    assert open_images(["parts:boxes=b.csv", "parts"]).title == "parts:boxes=b.csv + parts"
    with pytest.raises(DataError, match="labels no box"):
        open_images("parts:boxes=b.csv", "eval")
    (folder / "parts:boxes=b.csv").mkdir()  # an existing path wins
    Image.new("L", (4, 4)).save(folder / "parts:boxes=b.csv" / "x.png")
    assert [item.name for item in open_images("parts:boxes=b.csv")] == ["parts:boxes=b.csv/x.png"]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("gone:boxes=b.csv", "there is no folder 'gone'"),
        ("parts/*:boxes=b.csv", r"there is no folder 'parts/\*'"),
        ("parts:crop=oversize:boxes=b.csv", "there is no folder 'parts:crop=oversize'"),
        ("parts:boxes=gone.csv", "there is no file gone.csv or parts/gone.csv"),
        ("parts:boxes=", "there is no file"),
        ("parts:boxes=b.csv:corp=oversize", "one key only, crop, not by corp=oversize"),
        ("parts:boxes=b.csv:crop=plain:crop=plain", "one key only"),
        ("parts:boxes=b.csv:crop=large", "crop is 'large'; it must be plain or oversize"),
        ("parts:boxes=b.csv:crop=", "crop is ''"),
        ("parts:crop=oversize", "neither a file or folder"),
        ("mnist:train:boxes=b.csv", "no key 'boxes'"),
    ],
)
def test_boxes_that_cannot_be_meant(folder: Path, source: str, cause: str) -> None:
    (folder / "b.csv").write_text(BOXES)
    with pytest.raises(UsageError, match=cause):
        open_images(source)


def test_collection_is_returned_as_it_is() -> None:
    collection = Collection([])
    assert open_images(collection) is collection


def test_purpose_reaches_the_folder(folder: Path) -> None:
    assert [item.kind for item in open_images("parts", "fit")] == ["good"]
    assert open_images("parts", "eval").labels().tolist() == [True, False]


def test_several_keep_titles_and_notes(folder: Path) -> None:
    collection = open_images(["parts", "parts", "stack.npy"], "fit")
    assert collection.title == "parts + parts + stack.npy"
    assert len(collection.notes) == 1
    assert open_images(["stack.npy"] * 4).title == "4 sources"


@pytest.mark.parametrize("name", ["mnist:test", "a*b", "mnist"])
def test_an_existing_path_wins(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    Image.new("L", (4, 4)).save(folder / name / "x.png")
    assert [item.name for item in open_images(name)] == [f"{name}/x.png"]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("mnst:test:normal=3", "did you mean mnist:test:normal=3"),
        ("fashion_mnist", "did you mean fashion-mnist:SPLIT"),
        ("gone.png", "neither a file or folder.*mnist"),
        ("x" * 5000, "neither a file or folder"),
        ("a\0b", "neither a file or folder"),
        ("", "neither a file or folder"),
        ("mnist", "needs a split; write one of mnist:train, mnist:test"),
        ("mnist:val", "no split 'val'"),
        ([], "empty"),
        ([3], "cannot be opened from list"),
        (3, "cannot be opened from int"),
        (None, "cannot be opened from NoneType"),
    ],
)
def test_what_names_nothing_is_a_usage_error(folder: Path, source: object, cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        open_images(source)


def test_other_errors(folder: Path) -> None:
    (folder / "x.txt").write_text("text")
    with pytest.raises(DataError, match=r"neither an image, a video nor an array file.*\.png.*\.npy"):
        open_images("x.txt")
    with pytest.raises(DataError, match="matches no files"):
        open_images("gone*.png")
    with pytest.raises(UsageError, match="purpose"):
        open_images("parts", "train")


def test_missing_set_says_where_to_put_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(folder / "cache"))
    with pytest.raises(MissingDataError, match=r"train-images-idx3-ubyte\.gz.*AMISS_DATA") as caught:
        open_images("mnist:test")
    assert str(folder / "cache") in str(caught.value)


def test_import_pulls_in_nothing_slow() -> None:
    code = (
        "import sys, amiss.data; print(*{'PIL', 'torch', 'urllib.request', 'tarfile', 'onnxruntime'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_lists_of_arrays_and_pictures(folder: Path) -> None:
    colour, gray = np.zeros((4, 5, 3), np.uint8), np.full((6, 4), 7, np.uint8)
    turned = Image.new("L", (5, 4))
    turned.getexif()[0x0112] = 6
    pictures = open_images([colour, gray, Image.new("LA", (3, 2), (0, 0)), turned, Image.open("parts/good/0.png")])
    assert [item.name for item in pictures] == [f"images[{i}]" for i in range(5)]
    assert [item.read().shape for item in pictures] == [(4, 5, 3), (6, 4), (2, 3), (5, 4), (4, 4)]
    assert [int(item.read().max()) for item in pictures] == [0, 7, 255, 0, 0]
    assert open_images(Image.new("RGB", (5, 4)))[0].read().shape == (4, 5, 3)
    with pytest.raises(DataError, match=r"images\[0\] has the shape 2x4x5x3"):
        open_images([np.zeros((2, 4, 5, 3), np.uint8)])[0].read()
    with pytest.raises(UsageError, match="cannot be opened from list"):
        open_images([gray, "parts"])  # type: ignore[arg-type]


def test_a_mistake_in_memory_is_no_file_to_leave_out(folder: Path) -> None:
    assert in_memory([np.zeros((4, 5))])
    assert in_memory(Image.new("L", (4, 4)))
    assert in_memory(np.zeros((1, 4, 5)))
    for source in ("parts", ["parts"], Collection([]), []):
        assert not in_memory(source)  # type: ignore[arg-type]


def test_good_and_bad_name_the_labels(folder: Path) -> None:
    (folder / "parts" / "crack").rename(folder / "monday")
    both = good_and_bad(["parts"], ["monday", "stack.npy"])
    assert [(item.name, item.anomalous, item.kind) for item in both] == [
        ("parts/good/0.png", False, "good"),
        ("monday/1.png", True, "monday"),
        ("stack.npy[0]", True, "stack.npy"),
        ("stack.npy[1]", True, "stack.npy"),
    ]
    with pytest.raises(UsageError, match="--good and --bad"):
        good_and_bad(["parts"], [])
    (folder / "parts" / "bent").mkdir()
    Image.new("L", (4, 4)).save(folder / "parts" / "bent" / "2.png")
    both = good_and_bad(["stack.npy"], ["parts"])
    assert [item.kind for item in both] == ["good", "good", "bent"]
    assert "1 images of parts are normal, and were left out" in both.notes
    (folder / "only" / "good").mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "only" / "good" / "2.png")
    with pytest.raises(DataError, match="only holds no anomaly"):
        good_and_bad(["stack.npy"], ["only"])


def test_notes_of_one_sort_are_told_once(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name / "good").mkdir(parents=True)
        Image.new("L", (4, 4)).save(folder / name / "good" / "0.png")
    (note,) = open_images(["a", "b", "c"], "fit").notes
    assert note == "only the normal images in good of a are used (and 2 more notes like this one)"
