"""Watching: the same scores as scoring, events with films, bounded memory."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amiss
from amiss.data import open_images
from amiss.data.live import LiveSource
from amiss.engines import allowed_difference
from amiss.errors import DataError, MissingExtraError
from amiss.events import Events, causal_mean, find_events
from amiss.model import FittedModel, Row
from amiss.service.watching import Films, Watcher
from amiss.testing.common import moving_task
from amiss.testing.videos import crossing, write_video


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return amiss.FrameDifference(false_alarm_rate=0.01).fit(crossing(1, 600)).model_


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Slow, then for 40 frames too fast, then slow."""
    return write_video(tmp_path / "a.mp4", crossing([1] * 60 + [12] * 40 + [1] * 60, seed=1))


def watched(watcher: Watcher, source: object, batch: int | None = None) -> tuple[list[dict[str, object]], list[float]]:
    smoothed: list[float] = []

    def each(row: Row, value: float) -> None:
        smoothed.append(value)

    return list(watcher.watch(source, batch, each)), smoothed  # type: ignore[arg-type]


def test_watching_a_file_gives_the_scores_of_scoring_it(model: FittedModel, video: Path) -> None:
    scores = model.score(video).scores
    _, smoothed = watched(Watcher(model), open_images(video))
    np.testing.assert_array_equal(np.array(smoothed), np.array([_mean(scores, end) for end in range(len(scores))]))
    np.testing.assert_allclose(smoothed, causal_mean(scores), rtol=1e-6)


def _mean(scores: np.ndarray, end: int) -> float:
    recent = [float(score) for score in scores[max(0, end - 8) : end + 1]]
    return sum(recent) / len(recent)


def test_a_camera_gives_the_scores_of_the_file(model: FittedModel, video: Path) -> None:
    frames = [item.read() for item in open_images(video)]

    def connect(address: str) -> Iterator[np.ndarray]:
        for frame in frames:
            yield frame
            time.sleep(0.001)  # a camera takes its time

    source = LiveSource("camera:0", connect, told=lambda what, why: source.stop())
    _, smoothed = watched(Watcher(model, live=True), source, 1)
    expected = causal_mean(model.score(video).scores)[: len(smoothed)]
    assert len(smoothed) > 140
    np.testing.assert_allclose(smoothed, expected, atol=allowed_difference(model.calibration.scores["torch"]))


def test_an_event_has_its_start_its_end_and_a_film(model: FittedModel, video: Path, tmp_path: Path) -> None:
    import av

    records, _ = watched(Watcher(model, tmp_path / "out"), open_images(video))
    assert [record["event"] for record in records] == ["start", "end"]
    end = records[1]
    assert 58 <= end["start"] <= 70  # type: ignore[operator]
    assert 95 <= end["end"] <= 115  # type: ignore[operator]
    assert end["start_time"] == pytest.approx(end["start"] / 25, abs=0.01)  # type: ignore[operator]
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    film = tmp_path / "out" / str(end["clip"])
    with av.open(str(film)) as container:
        count = sum(1 for _ in container.decode(video=0))
    assert count >= 40 + 50, "the event, and two seconds before"
    assert not list((tmp_path / "out").glob("*.partial"))


def test_an_event_at_the_end_is_told(model: FittedModel, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", crossing([1] * 60 + [12] * 40, seed=1))
    records, _ = watched(Watcher(model), open_images(video))
    assert [record["event"] for record in records] == ["start", "end"]
    assert records[1]["end"] == 99


def test_no_event_spans_two_videos(model: FittedModel, tmp_path: Path) -> None:
    """What is strange at the end of one video and at the start of the next is two events."""
    write_video(tmp_path / "a.mp4", crossing([1] * 60 + [12] * 40, seed=1))
    write_video(tmp_path / "b.mp4", crossing([12] * 40 + [1] * 60, seed=1))
    records, smoothed = watched(Watcher(model, tmp_path / "out"), open_images(tmp_path))
    assert [record["event"] for record in records] == ["start", "end"] * 2
    first, second = records[1], records[3]
    assert (str(first["video"])[-5:], first["end"]) == ("a.mp4", 99)
    assert str(second["video"]).endswith("b.mp4")
    assert second["start"] < 10  # type: ignore[operator]
    assert second["start_time"] == pytest.approx(second["start"] / 25, abs=0.01)  # type: ignore[operator]
    assert {first["clip"], second["clip"]} == {path.name for path in (tmp_path / "out").glob("*.mp4")}
    each = [list(causal_mean(model.score(tmp_path / name).scores)) for name in ("a.mp4", "b.mp4")]
    np.testing.assert_allclose(smoothed, each[0] + each[1], rtol=1e-6)


def test_the_times_of_an_event_that_lasts_for_ever_are_known(model: FittedModel, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", crossing([1] * 20 + [12] * 600, seed=1))
    (start, end), _ = watched(Watcher(model, rate=7), open_images(video))
    assert start["start_time"] == end["start_time"] == pytest.approx(end["start"] / 25, abs=0.01)  # type: ignore[operator]
    assert end["peak_time"] == pytest.approx(end["peak"] / 25, abs=0.01)  # type: ignore[operator]


def test_when_a_camera_goes_away_for_good_the_event_is_told_before_the_error(
    model: FittedModel, tmp_path: Path
) -> None:
    frames = list(crossing([1] * 60 + [12] * 40, seed=1))
    connections = iter([frames])

    def connect(address: str) -> Iterator[np.ndarray]:
        for frame in next(connections, []):
            yield frame
            time.sleep(0.002)

    watcher = Watcher(model, tmp_path, live=True)
    records: list[dict[str, Any]] = []
    with pytest.raises(DataError, match="camera:0 cannot be read"):
        records.extend(watcher.watch(LiveSource("camera:0", connect, patience=1), 1))
    assert [record["event"] for record in records] == ["start", "end"]
    assert records[1]["start_time"] < records[1]["end_time"], "by the clock"
    assert [path.name for path in tmp_path.glob("*.mp4")] == [records[1]["clip"]]


def test_an_event_ends_where_a_camera_goes_away(model: FittedModel) -> None:
    frames = list(crossing([1] * 60 + [12] * 40, seed=1))
    connections = iter([frames, frames[::-1]])

    def connect(address: str) -> Iterator[np.ndarray]:
        for frame in next(connections, []):
            yield frame
            time.sleep(0.002)

    source = LiveSource("camera:0", connect, patience=2)
    records: list[dict[str, Any]] = []
    with pytest.raises(DataError):
        records.extend(Watcher(model, live=True).watch(source, 1))
    assert source.reconnections == 1
    assert [record["event"] for record in records] == ["start", "end"] * 2
    assert [record["number"] for record in records] == [1, 1, 2, 2]


def test_an_alert_gets_the_record(model: FittedModel, video: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    program = [sys.executable, "-c", f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())"]
    watcher = Watcher(model, alert=program)
    records, _ = watched(watcher, open_images(video))
    for process in watcher._alert._running:
        process.wait(20)
    assert json.loads(told.read_text()) == records[0]


def test_unreadable_frames_are_counted_and_nothing_is_lost(model: FittedModel, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", crossing([1] * 60 + [12] * 40 + [1] * 60, seed=1))
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    watcher = Watcher(model)
    records, _ = watched(watcher, open_images(path))
    assert watcher.frames > 80
    assert records[0]["event"] == "start"


def test_frames_unlike_those_learnt_from_are_counted(model: FittedModel) -> None:
    frames = crossing(1, 60, seed=1)
    frames[40:] //= 8
    watcher = Watcher(model)
    watched(watcher, open_images(frames))
    notes = model.score(frames).notes
    assert notes[:40] == [None] * 40
    assert watcher.unlike.count == sum(note is not None for note in notes) >= 20
    assert f"[40]: {notes[40]}" in watcher.unlike.sentences()[0]


def test_memory_does_not_grow_with_the_video(model: FittedModel, tmp_path: Path) -> None:
    """Looped: what the watcher holds after 4,000 frames is what it holds after 400."""
    import tracemalloc

    frames = crossing([1] * 60 + [12] * 20, seed=1)

    def looped(times: int) -> int:
        items = list(open_images(frames))
        watcher = Watcher(model, events=lambda: Events(1e9, 1e9))
        tracemalloc.start()
        for _ in watcher.watch(item for _ in range(times) for item in items):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    looped(2)
    assert looped(50) < 1.3 * looped(5)


def frames_of(film: Path) -> list[np.ndarray]:
    import av

    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def filmed(model: FittedModel, folder: Path, source: object) -> list[Path]:
    with Films(model, folder) as films:
        for row in model.rows(open_images(source), picture=960):  # type: ignore[arg-type]
            films.add(row)
    return sorted(folder.iterdir())


def test_a_film_has_every_frame_and_a_red_border_while_an_event_lasts(
    model: FittedModel, video: Path, tmp_path: Path
) -> None:
    (film,) = filmed(model, tmp_path / "films", video)
    frames = frames_of(film)
    assert frames[0].shape == (48 + 16, 64, 3), "the picture, and the strip below"
    (event,) = find_events(model.score(video).scores, Events(*model.decision.event_thresholds()))
    red = [number for number, frame in enumerate(frames) if int(frame[0, :, 0].mean()) - frame[0, :, 2].mean() > 80]
    assert len(frames) == 160
    assert red == list(range(event.start, event.end + 1))
    strip = frames[event.end][-16:].astype(int)
    assert (strip[:, -8:, 0] - strip[:, -8:, 2]).mean() > 2 * (strip[:, :8, 0] - strip[:, :8, 2]).mean(), "scores rose"


def test_every_video_has_a_film_at_its_own_rate(model: FittedModel, tmp_path: Path) -> None:
    import av

    for folder in ("a", "b"):
        write_video(tmp_path / folder / "1.mp4", crossing(1, 30), rate=10)
    films = filmed(model, tmp_path / "films", [tmp_path / "a", tmp_path / "b"])
    assert len(films) == 2
    for film in films:
        assert film.name.endswith(".mp4")
        with av.open(str(film)) as container:
            assert container.streams.video[0].average_rate == 10
        assert len(frames_of(film)) == 30


def test_films_of_frames_without_times_and_of_a_single_frame(model: FittedModel, tmp_path: Path) -> None:
    films = filmed(model, tmp_path / "films", np.stack([crossing(1, 5), crossing(1, 5, seed=1)]))
    assert [len(frames_of(film)) for film in films] == [5, 5]
    (film,) = filmed(model, tmp_path / "one", write_video(tmp_path / "a.mp4", crossing(1, 1)))
    assert len(frames_of(film)) == 1


def test_a_film_that_breaks_off_leaves_nothing(model: FittedModel, video: Path, tmp_path: Path) -> None:
    def broken() -> None:
        with Films(model, tmp_path / "films") as films:
            for row in itertools.islice(model.rows(open_images(video), picture=960), 80):
                films.add(row)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert not list((tmp_path / "films").iterdir())


def test_a_film_holds_back_only_a_few_frames(model: FittedModel, tmp_path: Path) -> None:
    steps = ([1] * 50 + [12] * 3 + [1] * 30 + [12] * 100) * 4
    rows = model.rows(open_images(crossing(steps)), picture=960)
    most = 0
    with Films(model, tmp_path) as films:
        for row in rows:
            films.add(row)
            assert films._film is not None
            most = max(most, len(films._film._waiting))
    assert 1 <= most <= 25


def test_films_need_the_extra_before_anything_is_scored(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amiss.environment.versions.have", lambda *modules: False)
    with pytest.raises(MissingExtraError, match="video"):
        Films(model, tmp_path / "films")
    assert not (tmp_path / "films").exists()


def test_thresholds_come_from_normal_video() -> None:
    model = amiss.FrameDifference(false_alarm_rate=0.05).fit(moving_task().normal).model_
    high, low = model.decision.event_thresholds()
    assert low < high
