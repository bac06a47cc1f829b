from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data.folder import (
    class_folders,
    file_collection,
    folder_collection,
    glob_collection,
    natural_key,
    read_groups,
)
from amiss.errors import DataError, UsageError


def write(*paths: Path, value: int = 0) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5), value, np.uint8)).save(path)


def below(collection: object, folder: Path) -> list[str]:
    prefix = f"{folder.as_posix()}/"
    names = [item.name for item in collection]
    assert all(name.startswith(prefix) for name in names)
    return [name.removeprefix(prefix) for name in names]


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    root = tmp_path / "bottle"
    write(*(root / "train" / "good" / f"{i}.png" for i in (0, 1, 2, 10)))
    write(root / "test" / "good" / "0.png", root / "test" / "crack" / "0.png", root / "test" / "crack" / "1.png")
    write(root / "ground_truth" / "crack" / "0_mask.png", value=255)
    return root


def test_mvtec_fit_takes_the_normal_training_images(mvtec: Path) -> None:
    collection = folder_collection(mvtec, "fit")
    assert below(collection, mvtec) == [f"train/good/{i}.png" for i in (0, 1, 2, 10)]
    assert {(item.kind, item.anomalous) for item in collection} == {("good", False)}
    assert collection.title == "bottle"
    assert any("train/good" in note for note in collection.notes)
    np.testing.assert_array_equal(collection[0].read(), np.zeros((4, 5)))


@pytest.mark.parametrize("given", ["", "test"])
def test_mvtec_eval_takes_labels_and_masks(mvtec: Path, given: str) -> None:
    collection = folder_collection(mvtec / given, "eval")
    assert [(item.name.rpartition("test/")[2], item.kind, item.anomalous) for item in collection] == [
        ("crack/0.png", "crack", True),
        ("crack/1.png", "crack", True),
        ("good/0.png", "good", False),
    ]
    assert [item.mask for item in collection] == [mvtec / "ground_truth" / "crack" / "0_mask.png", None, None]


def test_masks_are_found_from_inside_the_folder(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mvtec / "test")
    collection = folder_collection(".", "eval")
    assert [item.name for item in collection] == ["./crack/0.png", "./crack/1.png", "./good/0.png"]
    assert collection.title == "test"
    assert collection[0].mask == mvtec / "ground_truth" / "crack" / "0_mask.png"


def test_mvtec_score_takes_everything_but_masks(mvtec: Path) -> None:
    collection = folder_collection(mvtec, "score")
    assert len(collection) == 7
    assert sum(bool(item.anomalous) for item in collection) == 2
    assert not any("ground_truth" in item.name for item in collection)
    shutil.copytree(mvtec, mvtec.parent / "cable")
    several = folder_collection(mvtec.parent, "score")
    assert len(several) == 14
    assert {item.anomalous for item in several} == {None}


def test_mvtec_without_a_normal_folder_in_train(mvtec: Path) -> None:
    shutil.rmtree(mvtec / "train")
    write(mvtec / "train" / "a" / "0.png")
    assert [(item.kind, item.anomalous) for item in folder_collection(mvtec, "fit")] == [(None, None)]


@pytest.mark.parametrize("name", ["good", "normal", "free", "Good"])
def test_fit_takes_only_the_normal_subfolder(tmp_path: Path, name: str) -> None:
    write(tmp_path / name / "a.png", tmp_path / "crack" / "b.png", tmp_path / "c.png")
    collection = folder_collection(tmp_path, "fit")
    assert below(collection, tmp_path) == [f"{name}/a.png"]
    assert any(name in note for note in collection.notes)
    assert {item.name.rpartition("/")[2]: item.anomalous for item in folder_collection(tmp_path, "score")} == {
        "a.png": False,
        "b.png": True,
        "c.png": None,
    }
    evaluated = folder_collection(tmp_path, "eval")
    assert [item.kind for item in evaluated if item.anomalous is not None] == ["crack", "good"]
    assert [item.name for item in evaluated if item.anomalous is None] == [str(tmp_path / "c.png")]


def test_fit_without_a_normal_subfolder_takes_everything(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.png", tmp_path / "y.png")
    collection = folder_collection(tmp_path, "fit")
    assert below(collection, tmp_path) == ["a/x.png", "y.png"]
    assert {item.anomalous for item in collection} == {None}
    (note,) = collection.notes
    assert "all 2 images are learnt from as normal, those in a among them" in note


def test_eval_with_one_sort_of_label_says_so(tmp_path: Path) -> None:
    write(tmp_path / "crack" / "x.png")
    all_anomalous = folder_collection(tmp_path, "eval")
    assert all_anomalous.labels().tolist() == [True]
    assert any("anomalous" in note for note in all_anomalous.notes)
    write(tmp_path / "other" / "good" / "x.png")
    all_normal = folder_collection(tmp_path / "other", "eval")
    assert all_normal.labels().tolist() == [False]
    assert any("normal" in note for note in all_normal.notes)


def test_eval_without_labels_explains_the_layout(tmp_path: Path) -> None:
    write(tmp_path / "x.png")
    with pytest.raises(DataError, match="FOLDER/good"):
        folder_collection(tmp_path, "eval")


def test_other_files_are_counted_and_hidden_ones_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.png", tmp_path / ".b.png", tmp_path / ".hidden" / "c.png", tmp_path / "d" / "E.PNG")
    (tmp_path / "readme.txt").write_text("text")
    (tmp_path / ".cache").write_text("text")
    collection = folder_collection(tmp_path, "score")
    assert below(collection, tmp_path) == ["a.png", "d/E.PNG"]
    assert collection.notes == ("1 files that are not images were left out",)


def test_names_keep_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "parts" / "a.png")
    monkeypatch.chdir(tmp_path)
    for given in ("parts", "parts/", Path("parts")):
        assert [item.name for item in folder_collection(given, "score")] == ["parts/a.png"]
    assert [item.name for item in folder_collection("./parts", "score")] == ["./parts/a.png"]


def test_natural_order() -> None:
    names = ["b/1.png", "a10.png", "a2.png", "A3.png", "a/10/1.png", "a/9/1.png", "²3.png", "٣.png"]
    assert sorted(names, key=natural_key) == [
        "a2.png",
        "A3.png",
        "a10.png",
        "a/9/1.png",
        "a/10/1.png",
        "b/1.png",
        "²3.png",
        "٣.png",
    ]


def test_loops_of_links_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "a" / "x.png", tmp_path / "elsewhere" / "y.png")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "above").symlink_to(tmp_path, target_is_directory=True)
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    names = below(folder_collection(root, "score"), root)
    assert names == ["a/above/elsewhere/y.png", "a/x.png", "linked/y.png"]
    assert below(glob_collection(f"{root}/**/*.png"), root) == ["a/x.png"]


def test_broken_links_are_listed_and_fail_when_read(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"x\.png cannot be opened"):
        folder_collection(tmp_path, "score")[0].read()


def test_clear_errors(tmp_path: Path) -> None:
    write(tmp_path / "x.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("text")
    for path, cause in ((tmp_path / "gone", "does not exist"), (tmp_path / "x.png", "file, not a folder")):
        with pytest.raises(DataError, match=cause):
            folder_collection(path, "score")
    with pytest.raises(DataError, match="holds no images"):
        folder_collection(tmp_path / "empty", "score")
    with pytest.raises(UsageError, match="'train'"):
        folder_collection(tmp_path, "train")
    for name, cause in (("empty", "is a folder"), ("gone.png", "does not exist"), ("x.txt", "not an image file")):
        with pytest.raises(DataError, match=cause):
            file_collection([tmp_path / "x.png", tmp_path / name])
    with pytest.raises(DataError, match="at least one"):
        file_collection([])
    with pytest.raises(DataError, match="matches no files"):
        glob_collection(f"{tmp_path}/*.jpg")
    with pytest.raises(DataError, match="1 files, but no images"):
        glob_collection(f"{tmp_path}/*.txt")


def test_glob_and_files(tmp_path: Path) -> None:
    write(*(tmp_path / f"{i}.png" for i in (10, 2)))
    (tmp_path / "a.txt").write_text("text")
    assert below(glob_collection(f"{tmp_path}/*"), tmp_path) == ["2.png", "10.png"]
    assert glob_collection(f"{tmp_path}/*").notes == ("1 files that are not images were left out",)
    given = [tmp_path / "10.png", tmp_path / "2.png"]
    assert [item.name for item in file_collection(given)] == [str(path) for path in given]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.png", ["a/b/2.png", "a/1.png", "0.png"]),
        ("**", ["a/b/2.png", "a/1.png", "0.png"]),
        ("./**/b/*", ["./a/b/2.png"]),
        ("a/**/*.p**", ["a/b/2.png", "a/1.png"]),
        ("*/*.png", ["a/1.png"]),
        ("a/[0-9].png", ["a/1.png"]),
    ],
)
def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str]) -> None:
    write(*(tmp_path / name for name in ("0.png", "a/1.png", "a/b/2.png", ".c/3.png", "a/.4.png")))
    monkeypatch.chdir(tmp_path)
    assert sorted(item.name for item in glob_collection(pattern)) == sorted(names)
    if not pattern.startswith("."):
        absolute = below(glob_collection(f"{tmp_path}/{pattern}"), tmp_path)
        assert sorted(absolute) == sorted(names)


def test_groups_and_kinds_from_the_table(tmp_path: Path) -> None:
    write(*(tmp_path / f"{i}.png" for i in range(4)))
    (tmp_path / "groups.csv").write_text(
        "file,kind,group,part\n0.png,free,g0,train\n1.png,crack,g0,test\n2.png,,g1,\n", "utf-8-sig"
    )
    scored = folder_collection(tmp_path, "score")
    assert [item.group for item in scored] == ["g0", "g0", "g1", None]
    assert [item.anomalous for item in scored] == [False, True, None, None]
    assert scored.notes == ()
    assert [item.kind for item in folder_collection(tmp_path, "eval")][:2] == ["good", "crack"]
    assert len(folder_collection(tmp_path, "fit").normal) == 3


@pytest.mark.parametrize("purpose", ["fit", "score", "eval"])
def test_masks_beside_listed_images_are_left_out(tmp_path: Path, purpose: str) -> None:
    """As in the magnetic tiles, where the mask of `1.jpg` is `1.png` beside it."""
    for kind in ("Free", "Crack"):
        write(*(tmp_path / f"MT_{kind}" / "Imgs" / f"{kind}{i}{end}" for i in range(2) for end in (".jpg", ".png")))
    listed = [f"MT_{kind}/Imgs/{kind}{i}.jpg" for kind in ("Crack", "Free") for i in range(2)]
    rows = [f"{name},{name[3:8].strip('/').lower()},{i}" for i, name in enumerate(listed)]
    (tmp_path / "groups.csv").write_text("\n".join(["file,kind,group", *rows]))
    collection = folder_collection(tmp_path, purpose)
    assert below(collection, tmp_path) == listed
    assert [item.kind for item in collection] == ["crack", "crack", "good", "good"]
    (note,) = collection.notes
    assert note.startswith("4 images that groups.csv does not list were left out")


def test_a_table_that_lists_nothing_there_is_noted(tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    (tmp_path / "groups.csv").write_text("file,group\nother/0.png,1\n")
    collection = folder_collection(tmp_path, "score")
    assert len(collection) == 1
    assert "lists none of the 1 images" in collection.notes[0]


def test_groups_are_found_after_a_change_of_format(tmp_path: Path) -> None:
    write(tmp_path / "good" / "0.jpg", tmp_path / "good" / "1.jpg", tmp_path / "crack" / "0.bmp")
    rows = ["good/0.png,,part-0", "good/1.png,,part-1", "crack/0.png,scratch,part-0", "good/7.png,,part-7"]
    (tmp_path / "groups.csv").write_text("\n".join(["file,kind,group", *rows]))
    collection = folder_collection(tmp_path, "score")
    assert [(item.name[-11:], item.kind, item.group) for item in collection] == [
        ("crack/0.bmp", "scratch", "part-0"),
        ("/good/0.jpg", "good", "part-0"),
        ("/good/1.jpg", "good", "part-1"),
    ]
    (note,) = collection.notes
    assert note.startswith("3 images have another ending than in")


def test_groups_are_not_guessed(tmp_path: Path) -> None:
    """`0.bmp` and `0.jpg` may both be what was `0.png`, and `1.jpg` what was either of two."""
    write(*(tmp_path / name for name in ("0.bmp", "0.jpg", "1.jpg", "2.jpg")))
    rows = ["0.png,a", "1.png,b", "1.tif,c", "2.jpg,d"]
    (tmp_path / "groups.csv").write_text("\n".join(["file,group", *rows]))
    collection = folder_collection(tmp_path, "score")
    assert [(item.name[-5:], item.group) for item in collection] == [("2.jpg", "d")]
    assert any(note.startswith("3 images that groups.csv does not list were left out") for note in collection.notes)


def test_groups_of_an_mvtec_root(mvtec: Path) -> None:
    (mvtec / "groups.csv").write_text("file,group\ntest/crack/1.png,7\ntrain/good/10.png,8\n")
    assert [item.group for item in folder_collection(mvtec, "eval")] == [None, "7", None]
    assert [item.group for item in folder_collection(mvtec, "fit")] == [None, None, None, "8"]


def test_class_folders_are_kinds(tmp_path: Path) -> None:
    root = tmp_path / "256_ObjectCategories"
    write(root / "257.clutter" / "257_0001.jpg", root / "002.flag" / "good" / "002_0001.jpg", root / "good" / "1.jpg")
    write(*(root / "001.ak47" / f"001_{i:04d}.jpg" for i in (10, 9)), value=200)
    collection = class_folders(root)
    assert [(item.kind, item.name.rpartition("/")[2]) for item in collection] == [
        ("001.ak47", "001_0009.jpg"),
        ("001.ak47", "001_0010.jpg"),
        ("002.flag", "002_0001.jpg"),
        ("257.clutter", "257_0001.jpg"),
        ("good", "1.jpg"),
    ]
    assert {item.anomalous for item in collection} == {None}
    assert (collection.title, collection.notes) == ("256_ObjectCategories", ())
    np.testing.assert_array_equal(collection[0].read(), np.full((4, 5), 200))
    write(root / "stray.png")
    (root / "001.ak47" / "RENAME2").write_text("text")
    assert len(class_folders(root)) == 5
    assert class_folders(root).notes == (
        "1 files that are not images were left out",
        "1 images outside the class folders were left out",
    )
    (root / "groups.csv").write_text("file,group,kind\n001.ak47/001_0010.jpg,7,other\n")
    assert ("001.ak47", "7") in [(item.kind, item.group) for item in class_folders(root)]


def test_class_folders_that_are_none(tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    with pytest.raises(DataError, match="no subfolders with images"):
        class_folders(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        class_folders(tmp_path / "gone")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "line 1.*'file'"),
        ("name,group\n", "line 1.*'file'"),
        ("file,group\na.png,1\nb.png\n", "line 3: 1 fields"),
        ("file,group\na.png,1,2\n", "line 2: 3 fields"),
        ("file,group\n\n,1\n", "line 3: the field 'file'"),
        ("file,group\na.png,1\na.png,2\n", "line 3: a.png"),
        ('file,group\n"a.png,1\n', "line 2"),
        ("file,group\n\xe4.png,1\n", "UTF-8"),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "groups.csv").write_text(text, "latin-1")
    with pytest.raises(DataError, match=cause) as caught:
        read_groups(tmp_path / "groups.csv")
    assert "groups.csv" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(DataError, match="shut cannot be listed"):
        folder_collection(tmp_path, "score")


def test_fifty_thousand_files_are_listed_quickly(tmp_path: Path) -> None:
    for kind in ("good", "crack"):
        (tmp_path / kind).mkdir()
        for i in range(25_000):
            os.close(os.open(f"{tmp_path}/{kind}/{i}.png", os.O_CREAT))
    start = time.process_time()
    collection = folder_collection(tmp_path, "eval")
    assert time.process_time() - start < 5
    assert len(collection) == 50_000
    assert collection[2].name.endswith("crack/2.png")
