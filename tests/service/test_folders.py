"""Folders: every image once, across restarts; what is being written is waited for; damaged ones get a row."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.errors import UsageError, WriteError
from amiss.model import FittedModel
from amiss.service.folders import FolderWatcher
from amiss.testing import task
from amiss.testing.videos import crossing


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return amiss.PixelZScore(false_alarm_rate=0.1).fit(task().normal[:60]).model_


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_EVERY", 0.02), ("_SETTLED", 0.05), ("_DAMAGED", 0.4)):
        monkeypatch.setattr(f"amiss.service.folders.{name}", seconds)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "in" / "a.png", 0)
    save(tmp_path / "in" / "deep" / "er" / "b.png", 1)
    return tmp_path / "in"


def save(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(task().unseen[number]).save(path)
    return path


class Seen:
    """What a folder watcher has told, from a thread of its own."""

    def __init__(self, watcher: FolderWatcher) -> None:
        self.records: list[dict[str, Any]] = []
        self.told: list[str] = []
        self._news = threading.Condition()
        self._watcher = watcher
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for record in self._watcher.watch(lambda what, why: self.told.append(what)):
            with self._news:
                self.records.append(record)
                self._news.notify_all()

    def until(self, count: int) -> list[str]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.records) >= count, 10), self.records
        return [record["file"] for record in self.records]

    def stop(self) -> None:
        self._watcher.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def watching(model: FittedModel, folder: Path, out: Path) -> Iterator[Seen]:
    seen = Seen(FolderWatcher(model, folder, out))
    try:
        yield seen
    finally:
        seen.stop()


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_every_image_is_scored_once_also_after_a_restart(model: FittedModel, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with watching(model, folder, out) as seen:
        assert seen.until(2) == ["a.png", "deep/er/b.png"]
        save(folder / "c.png", 2)
        seen.until(3)
    save(folder / "d.png", 3)
    with watching(model, folder, out) as seen:
        assert seen.until(1) == ["d.png"]
        pause(0.3)
    assert [row["file"] for row in rows(out)] == ["a.png", "deep/er/b.png", "c.png", "d.png"]
    expected = model.score(task().unseen[:4])
    np.testing.assert_allclose([row["score"] for row in rows(out)], expected.scores, rtol=1e-5)
    assert [row["is_anomaly"] for row in rows(out)] == expected.is_anomaly.tolist()
    assert {row["source"] for row in rows(out)} == {str(folder)}


def test_half_a_row_of_a_killed_run_is_scored_again(model: FittedModel, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with watching(model, folder, out) as seen:
        seen.until(2)
    table = out / "images.jsonl"
    table.write_bytes(table.read_bytes()[:-20])
    with watching(model, folder, out) as seen:
        assert seen.until(1) == ["deep/er/b.png"]
    assert [row["file"] for row in rows(out)] == ["a.png", "deep/er/b.png"]


def test_a_file_that_is_being_written_is_waited_for(model: FittedModel, folder: Path, tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", 2).read_bytes()
    with watching(model, folder, tmp_path / "out") as seen:
        seen.until(2)
        with (folder / "slow.png").open("wb", buffering=0) as file:
            most = len(whole) * 2 // 3  # behind all pixels, what is missing would not be missed
            step = most // 6 + 1
            for start in range(0, most, step):
                file.write(whole[start : min(start + step, most)])
                pause(0.08)  # longer than a file must have settled, shorter than it takes to be damaged
                assert len(seen.records) == 2
            file.write(whole[most:])
        seen.until(3)
        pause(0.5)
    assert [row["error"] for row in rows(tmp_path / "out")] == [None] * 3


def test_a_damaged_file_gets_a_row_and_another_when_it_is_mended(
    model: FittedModel, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    with watching(model, folder, tmp_path / "out") as seen:
        seen.until(3)
        assert seen.records[-1]["file"] == "broken.png"
        assert "broken.png" in seen.records[-1]["error"]
        assert seen.records[-1]["score"] is None
        save(folder / "broken.png", 2)
        seen.until(4)
    assert rows(tmp_path / "out")[-1]["error"] is None


def test_what_is_deleted_moved_or_away_does_no_harm(model: FittedModel, folder: Path, tmp_path: Path) -> None:
    with watching(model, folder, tmp_path / "out") as seen:
        seen.until(2)
        (folder / "a.png").unlink()
        shutil.move(folder / "deep", tmp_path / "away")
        (folder / "gone.png").write_bytes(b"")
        (folder / "gone.png").unlink()
        pause(0.1)
        shutil.move(folder, tmp_path / "elsewhere")
        pause(0.2)
        shutil.move(tmp_path / "elsewhere", folder)
        shutil.move(tmp_path / "away", folder / "deep")
        save(folder / "c.png", 2)
        assert seen.until(3)[-1] == "c.png"
        pause(0.2)
    assert len(rows(tmp_path / "out")) == 3
    assert seen.told == ["lost", "back"]


def test_masks_hidden_files_and_others_are_no_images_and_pages_are(
    model: FittedModel, folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(folder / "a_mask.png")
    save(folder / ".hidden.png", 2)
    (folder / "notes.txt").write_text("no image")
    first, *others = [Image.fromarray(task().unseen[number]) for number in range(3)]
    first.save(folder / "z.tif", save_all=True, append_images=others)
    with watching(model, folder, tmp_path / "out") as seen:
        seen.until(5)
        pause(0.2)
    assert [row["file"] for row in rows(tmp_path / "out")] == ["a.png", "deep/er/b.png", "z.tif", "z.tif", "z.tif"]
    assert rows(tmp_path / "out")[-1]["name"].endswith("z.tif[2]")


def test_one_table_has_one_writer(model: FittedModel, folder: Path, tmp_path: Path) -> None:
    with watching(model, folder, tmp_path / "out") as seen:
        seen.until(1)
        with pytest.raises(WriteError, match="another amiss"):
            next(FolderWatcher(model, folder, tmp_path / "out").watch())


def test_clips_need_a_camera_or_a_video(folder: Path, tmp_path: Path) -> None:
    model = amiss.FrameDifference(false_alarm_rate=0.1).fit(crossing(1, 200)).model_
    with pytest.raises(UsageError, match=r"sees clips.*watch the camera or the video"):
        FolderWatcher(model, folder, tmp_path / "out")
