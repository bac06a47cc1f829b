"""`amiss watch` from end to end, and video through the other verbs."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from amiss.data import open_images
from amiss.data.video import pixels_of
from amiss.events import Events
from amiss.registry import load
from amiss.testing.videos import crossing, write_video

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hall")
    for day in range(3):
        write_video(folder / "normal" / f"{day}.mp4", crossing(1, 120, seed=day))
    write_video(folder / "labelled" / "good" / "x.mp4", crossing(1, 60, seed=7))
    write_video(folder / "labelled" / "run" / "y.mp4", crossing(12, 60, seed=8))
    write_video(folder / "today.mp4", crossing([1] * 60 + [12] * 40 + [1] * 30, seed=9))
    return folder


@pytest.fixture
def model(hall: Path, run: Run) -> Path:
    path = hall / "hall.amiss"
    if not path.exists():
        arguments = ["--method", "frame_difference", "--false-alarm-rate", "0.05"]
        run("fit", str(hall / "normal"), "--out", str(path), *arguments).well()
    return path


def test_without_a_method_videos_get_one_for_motion(hall: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "m.amiss"
    settings = ["--set", "steps=2", "--epochs", "1"]
    told = json.loads(run("fit", str(hall / "normal"), "--out", str(out), *settings, "--json").well().out)
    assert told["method"] == "motion_adacl"
    assert told["decision"]["guaranteed"] is False, "blocks of three videos promise nothing"


def test_watch_tells_events_as_json_lines(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    result = run("watch", str(model), str(hall / "today.mp4"), "--out", str(tmp_path / "out"), "--json").well()
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["event"] for record in records] == ["start", "end", "stopped"]
    assert records[-1]["frames"] == 130
    assert (tmp_path / "out" / records[1]["clip"]).is_file()


def test_watch_tells_of_frames_unlike_those_learnt_from(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    dark = crossing(1, 60, seed=9)
    dark[40:] //= 8
    write_video(tmp_path / "dark.mp4", dark)
    result = run("watch", str(model), str(tmp_path / "dark.mp4"), "--json").well()
    told = json.loads(result.out.splitlines()[-1])
    assert told["unlike"] >= 20
    assert f"{told['unlike']} frames look unlike those learnt from; the first, " in result.err
    usual = run("watch", str(model), str(hall / "normal" / "0.mp4"), "--json").well()
    assert json.loads(usual.out.splitlines()[-1])["unlike"] == 0
    assert "unlike" not in usual.err


def test_events_begin_by_the_rate_that_is_given(
    hall: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    class Noted(Events):
        def __init__(self, *thresholds: float) -> None:
            used.append(thresholds)
            super().__init__(*thresholds)

    monkeypatch.setattr("amiss.service.watching.Events", Noted)
    for rate in (0.05, 0.2):
        run("watch", str(model), str(hall / "today.mp4"), "--json", "--false-alarm-rate", rate).well()
        assert used[-1] == load(model).with_false_alarm_rate(rate).decision.event_thresholds()
    assert used[0] != used[-1]


def test_scores_have_a_row_for_each_frame(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    table = tmp_path / "scores.csv"
    run("score", str(model), str(hall / "today.mp4"), "--out", str(table)).well()
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 130
    assert rows[5]["name"].endswith("today.mp4[5]")
    flagged = [row["is_anomaly"] == "true" for row in rows]
    assert sum(flagged[60:100]) > 30 > sum(flagged[:60])


def test_heatmaps_decode_every_frame_once(
    hall: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(frame: Any) -> Any:
        decoded.append(frame.pts)
        return pixels_of(frame)

    monkeypatch.setattr("amiss.data.video.pixels_of", counted)
    run("score", str(model), str(hall / "today.mp4"), "--heatmaps", str(tmp_path / "maps")).well()
    assert len(decoded) == len(set(decoded)) == 130
    pictures = sorted((tmp_path / "maps").iterdir())
    assert len(pictures) == 130
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 48)


def test_score_films_a_video(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    done = run("score", str(model), str(hall / "today.mp4"), "--film", str(tmp_path / "films")).well()
    (film,) = (tmp_path / "films").iterdir()
    assert "today.mp4" in film.name
    assert f"1 film in {tmp_path / 'films'}" in done.err
    today = str(hall / "today.mp4")
    out = str(tmp_path / "t.csv")
    run("score", str(model), today, "--film", str(tmp_path), "--out", out, "--resume").failed(2, "--resume")


def test_eval_measures_frames_videos_and_events(hall: Path, model: Path, run: Run) -> None:
    metrics = json.loads(run("eval", str(model), str(hall / "labelled"), "--json").well().out)
    assert metrics["auroc"]["value"] > 0.9
    assert metrics["auroc_normalised"]["value"] is not None
    assert metrics["auroc_causal"]["value"] > 0.9
    assert set(metrics["videos"].values()) == {None}, "each holds one class"
    assert metrics["events"]["labelled"] == metrics["events"]["detected"] == 1
    text = run("eval", str(model), str(hall / "labelled")).well().out
    assert "per video" in text
    assert "events" in text


def test_frames_are_called_frames(hall: Path, tmp_path: Path, run: Run) -> None:
    """Also of a method that sees single frames."""
    model = tmp_path / "m.amiss"
    told = run("fit", hall / "normal", "--out", model, "--method", "pca", "--false-alarm-rate", "0.05").well().out
    told += run("score", model, hall / "today.mp4", "--out", tmp_path / "t.csv", "--report", tmp_path).well().err
    told += run("eval", model, hall / "labelled", "--report", tmp_path / "e.html").well().out
    told += run("info", model).well().out
    for page in ("report.html", "e.html"):
        text = (tmp_path / page).read_text()
        told += re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.S)
    assert "gray frames at 48x64" in told
    assert "of 130 frames are amiss" in told
    assert "60 normal and 60 anomalous frames" in told
    assert "normal frames that set the threshold" in told
    assert "Worst frames" in told
    assert not re.findall(r".*\b[Ii]mages?\b.*", told.replace("reference images", "")), "in a word for people"


def test_videos_without_labels_are_told_how_to_get_some(hall: Path, model: Path, run: Run) -> None:
    run("eval", model, hall / "normal").failed(1, "no labelled videos", "events.csv", "good")
    run("eval", model, hall / "today.mp4").failed(1, "no labels", "events.csv")
    run("eval", model, hall / "labelled" / "good").failed(1, "no labelled videos")


def test_bad_sources_are_explained(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    result = run("watch", str(model), str(broken))
    assert result.code == 1
    assert "broken.mp4" in result.err
    result = run("watch", str(model), str(hall / "today.mp4"), "--alert", "no-such-program")
    assert result.code == 2
    assert "no-such-program" in result.err
    result = run("watch", str(model), str(tmp_path / "missing.mp4"))
    assert result.code == 2


def test_a_camera_is_watched_until_a_signal_and_the_open_event_is_told(
    hall: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [item.read() for item in open_images(hall / "today.mp4")][:95]

    def connected(address: str) -> Iterator[Any]:
        for frame in frames:
            yield frame
            time.sleep(0.005)
        time.sleep(0.5)  # let all be scored
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    monkeypatch.setattr("amiss.data.live._connected", connected)
    before = signal.getsignal(signal.SIGTERM)
    result = run("watch", str(model), "camera:0", "--out", str(tmp_path / "out"), "--json").well()
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["event"] for record in records] == ["start", "end", "stopped"]
    assert records[-1]["frames"] == 95
    assert records[-1]["unlike"] == 0
    assert [path.name[-14:] for path in (tmp_path / "out").glob("*.mp4*")] == ["event-0001.mp4"]
    assert signal.getsignal(signal.SIGTERM) == before
