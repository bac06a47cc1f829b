"""`amiss watch` from end to end, and video through the other verbs."""

from __future__ import annotations

import csv
import http.server
import json
import os
import re
import shutil
import signal
import threading
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


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps the records that it was sent."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.records.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.delenv("http_proxy", raising=False)
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def test_several_sources_are_watched_at_once_and_one_that_fails_stops_no_other(
    hall: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    frames = [item.read() for item in open_images(hall / "today.mp4")][:95]
    alive = threading.Event()
    attempts = []

    def connected(address: str) -> Iterator[Any]:
        if address == "camera:1":  # dies again and again
            attempts.append(address)
            yield frames[0]
            raise OSError("no such device")
        for frame in frames:
            yield frame
            time.sleep(0.005)
        while len(attempts) < 3:
            time.sleep(0.01)
        time.sleep(0.5)
        alive.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    monkeypatch.setattr("amiss.data.live._connected", connected)
    monkeypatch.setattr("amiss.service.watch_group._PATIENCE", 20)  # the films, on a busy machine
    out, hook = tmp_path / "out", f"http://ann:s3cret@127.0.0.1:{receiver.server_port}/4711"
    sources = ["door=camera:0", "gate=camera:1", f"today={hall / 'today.mp4'}"]
    result = run("watch", model, *sources, "--out", out, "--json", "--webhook", hook).well()
    records = [json.loads(line) for line in result.out.splitlines()]
    assert alive.is_set()
    for name in ("door", "today"):
        told = [record["event"] for record in records if record.get("source") == name]
        assert told == ["start", "end", "stopped"]
        kept = [json.loads(line) for line in (out / name / "events.jsonl").read_text().splitlines()]
        assert [(each["event"], each["source"]) for each in kept] == [("start", name), ("end", name)]
        assert (out / name / kept[1]["clip"]).is_file()
    gate = [record for record in records if record.get("source") == "gate"]
    assert [record["event"] for record in gate][:3] == ["lost", "back", "lost"]
    assert gate[0]["why"] == "no such device"
    assert gate[-1]["event"] == "stopped"
    sent = next(record for record in records if record["event"] == "sent")
    assert sent == {
        "event": "sent",
        "to": f"http://127.0.0.1:{receiver.server_port}",
        "delivered": len(receiver.records),
        "undelivered": 0,
    }
    assert receiver.records == [record for record in records if record["event"] not in ("stopped", "sent")]
    assert "s3cret" not in result.out + result.err
    assert "4711" not in result.out + result.err


def test_a_video_that_fails_beside_others_makes_a_failure_of_it_at_the_end(
    hall: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    result = run("watch", model, hall / "today.mp4", f"bad={tmp_path / 'broken.mp4'}", "--json")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 1
    assert [each["event"] for each in records if each["source"] == "bad"] == ["failed"]
    assert [each["event"] for each in records if each["source"] != "bad"] == ["start", "end", "stopped"]


def test_what_is_watched_must_have_names_of_its_own(hall: Path, model: Path, tmp_path: Path, run: Run) -> None:
    run("watch", model).failed(2, "--folder DIR")
    run("watch", model, hall / "today.mp4", hall / "today.mp4").failed(2, "today.mp4", "NAME=")
    run("watch", model, "a=camera:0", "a=camera:1").failed(2, "called a", "NAME=")
    run("watch", model, "--folder", tmp_path).failed(2, "--out")
    run("watch", model, "--folder", tmp_path, "--out", tmp_path / "out").failed(2, "sees clips")
    run("watch", model, "camera:0", "--webhook", "ftp://s3cret").failed(2, "http://HOST")
    run("watch", model, "camera:0", "--mqtt", "mqtt://localhost").failed(2, "mqtt://HOST")


def test_a_clock_that_jumps_back_loses_nothing(
    hall: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [item.read() for item in open_images(hall / "today.mp4")][:95]
    clock = time.time
    shown = []
    monkeypatch.setattr("time.time", lambda: clock() - 3600 * len(shown))

    def connected(address: str) -> Iterator[Any]:
        for frame in frames:
            shown.append(frame)  # an hour back, at every frame
            yield frame
            time.sleep(0.02)  # so that none is dropped
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    monkeypatch.setattr("amiss.data.live._connected", connected)
    for _ in range(2):
        run("watch", model, "camera:0", "--out", tmp_path / "out", "--json").well()
    kept = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert [(each["event"], each["number"]) for each in kept] == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]
    assert all((tmp_path / "out" / each["clip"]).is_file() for each in kept if each["event"] == "end")
    assert kept[1]["end_time"] < kept[0]["start_time"], "times are those of the clock"


def test_a_folder_is_left_within_two_seconds_and_gone_on_with(
    tmp_path: Path, run: Run, start: Callable[..., Any], pictures: Path
) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    part = tmp_path / "part.amiss"
    run("fit", pictures / "good", "--out", part, "--method", "pixel_zscore", "--false-alarm-rate", "0.1").well()
    images.mkdir()
    for number in range(3):
        shutil.copy(pictures / "new" / f"{number:03}.png", images)
    for expected in (3, 1):
        process = start("watch", part, "--folder", images, "--out", out, "--json")
        told = [json.loads(process.stdout.readline()) for _ in range(expected)]
        assert [record["event"] for record in told] == ["image"] * expected
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        last = json.loads(process.stdout.readline())
        assert time.monotonic() - begun < 2, "all is written; Python's own end takes its time on a busy machine"
        assert (last["event"], last["images"]) == ("stopped", expected)
        assert process.communicate(timeout=30)[0] == ""
        assert process.returncode == 0
        shutil.copy(pictures / "new" / "011.png", images)
    rows = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["000.png", "001.png", "002.png", "011.png"]
