"""Versions of a model file: nothing is overwritten, and going back finds what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from amiss.errors import UsageError, WriteError
from amiss.service import versions


def write(path: Path, text: str) -> Path | None:
    return versions.replace(path, lambda where: where.write_text(text))


def names(path: Path) -> list[tuple[str, str]]:
    return [(version.path.name, version.path.read_text()) for version in versions.versions(path)]


def test_what_is_replaced_is_kept_and_can_be_gone_back_to(tmp_path: Path) -> None:
    path = tmp_path / "part.amiss"
    assert write(path, "a") is None
    assert not versions.folder_of(path).exists()
    with pytest.raises(UsageError, match="no earlier version"):
        versions.go_back(path)
    assert write(path, "b") == tmp_path / "part.versions" / "0001.amiss"
    assert write(path, "c") == tmp_path / "part.versions" / "0002.amiss"
    assert names(path) == [("0001.amiss", "a"), ("0002.amiss", "b"), ("0003.amiss", "c")]
    assert versions.go_back(path).number == 2
    assert path.read_text() == "b"
    assert names(path)[2] == ("0003-left.amiss", "c")
    write(path, "d")
    assert versions.go_back(path).number == 2, "from what was taught after going back, to what it was taught from"
    assert versions.go_back(path).number == 1
    with pytest.raises(UsageError, match="no earlier version"):
        versions.go_back(path)
    assert path.read_text() == "a"
    assert sorted(text for _, text in names(path)) == ["a", "b", "c", "d"]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_model_fitted_over_it_is_kept_when_one_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "part.amiss"
    write(path, "a")
    write(path, "b")
    path.write_text("fitted anew")
    assert versions.go_back(path).path.read_text() == "b"
    assert names(path)[-1] == ("0003-left.amiss", "fitted anew")
    path.unlink()
    assert versions.go_back(path).path.read_text() == "b"  # a lost file comes back as it last was


def test_what_cannot_be_written_leaves_the_older_model(tmp_path: Path) -> None:
    path = tmp_path / "part.amiss"
    write(path, "a")

    def full(_: Path) -> None:
        raise WriteError("the disk is full")

    with pytest.raises(WriteError):
        versions.replace(path, full)
    assert path.read_text() == "a"
    assert versions.earlier(path) is None


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "part.amiss"
    folder = versions.folder_of(path)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "1.amiss").write_text("mine too")
    write(path, "a")
    write(path, "b")
    assert [name for name, _ in names(path)] == ["0001.amiss", "0002.amiss"]
    assert (folder / "notes.txt").read_text() == "mine"
