"""Known video sets, on small trees of the official layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from amiss.data.known import open_known
from amiss.errors import DataError
from amiss.testing.videos import crossing, write_video


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("amiss.data.locate._SYSTEM_FOLDERS", ())
    monkeypatch.setenv("AMISS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write_frames(folder: Path, count: int, ending: str, mode: str = "L") -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new(mode, (12, 8), number % 2).save(folder / f"{number:03}.{ending}")


@pytest.mark.parametrize("number", [1, 2])
def test_ucsd_as_it_is_published(home: Path, number: int) -> None:
    root = home / f"UCSD_Anomaly_Dataset.v1p2/UCSDped{number}"
    write_frames(root / "Train/Train001", 4, "tif")
    for clip in (1, 2):
        write_frames(root / f"Test/Test{clip:03}", 5, "tif")
        write_frames(root / f"Test/Test{clip:03}_gt", 5, "bmp", "1")
    labels = (
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\nTestVideoFile{end+1}.gt_frame = [1:1, 4:5];\n"
    )
    (root / f"Test/UCSDped{number}.m").write_text(labels)
    assert [item.anomalous for item in open_known(f"ucsd-ped{number}:train")] == [False] * 4
    test = open_known(f"ucsd-ped{number}:test")
    assert [item.anomalous for item in test] == [False, True, True, False, False, True, False, False, True, True]
    assert [item.video for item in test] == ["Test001"] * 5 + ["Test002"] * 5
    assert test[0].mask is None
    mask = test[1].mask
    assert mask is not None
    assert mask.name == "002.bmp"
    assert not test.notes
    (root / f"Test/UCSDped{number}.m").write_text("TestVideoFile{end+1}.gt_frame = [2:3];\n")
    with pytest.raises(DataError, match="labels 1 clips"):
        open_known(f"ucsd-ped{number}:test")


def test_ped2_on_disk(require_data: Callable[[str], None]) -> None:
    require_data("ucsd-ped2")
    assert len(open_known("ucsd-ped2:train")) == 2550
    test = open_known("ucsd-ped2:test")
    assert (len(test), int(test.labels().sum())) == (2010, 1648)


def test_avenue_as_it_is_published(home: Path) -> None:
    root = home / "Avenue Dataset"
    write_video(root / "training_videos/01.avi", crossing(1, 6), "mpeg4")
    write_video(root / "testing_videos/01.avi", crossing(1, 5), "mpeg4")
    masks = np.empty((1, 5), dtype=object)
    for frame in range(5):
        masks[0, frame] = np.full((4, 4), frame == 3, np.uint8)
    folder = root / "ground_truth_demo/testing_label_mask"
    folder.mkdir(parents=True)
    savemat(folder / "1_label.mat", {"volLabel": masks})
    assert [item.anomalous for item in open_known("avenue:train")] == [False] * 6
    assert [item.anomalous for item in open_known("avenue:test")] == [False, False, False, True, False]
    savemat(folder / "1_label.mat", {"volLabel": masks[:, :3]})
    with pytest.raises(DataError, match="5 frames, and its labels are of 3"):
        open_known("avenue:test")


def test_subway_widens_its_events(home: Path) -> None:
    rate, minutes = 1, 5
    count = 60 * minutes * rate + 100
    for gate in ("entrance", "exit"):
        write_video(home / f"subway/{gate}.avi", crossing(1, count, size=(16, 16)), "mpeg4", rate=rate)
    (home / "subway/entrance.txt").write_text("")
    (home / "subway/exit.txt").write_text("350\n\n380 385\n")
    assert len(open_known("subway:exit-train")) == 300
    test = open_known("subway:exit-test")
    assert np.flatnonzero(test.labels()).tolist() == [*range(35, 100)], "350 +- 15 and 380 to 385 +- 15, from 300 on"
    (home / "subway/exit.txt").write_text("350\nsoon\n")
    with pytest.raises(DataError, match=r"exit\.txt, line 2"):
        open_known("subway:exit-test")
    with pytest.raises(DataError, match="shorter than the 15 minutes"):
        open_known("subway:entrance-test")
