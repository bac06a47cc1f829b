"""What was scored is kept, found again, labelled, and forgotten in time."""

from __future__ import annotations

import datetime
import io
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from amiss.errors import ServiceError, UsageError
from amiss.service.web.history import Base, Entry, Filter, History, utc_now

Png = Callable[[np.ndarray], bytes]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(str(tmp_path / "history.db"))
    yield history
    history.close()


def entry(name: str = "a.png", thumbnail: bytes | None = None, **changes: Any) -> Entry:
    facts = {"model": "part", "version": "1", "score": 1.0, "p_value": 0.5, "is_anomaly": False, "rate": 0.01}
    time = changes.pop("time", None)
    made = History.entry(name=name, thumbnail=thumbnail, **{**facts, **changes})
    made.time = time or made.time
    return made


def names(history: History, **wanted: Any) -> list[str]:
    return [found.name for found in history.entries(Filter(**wanted), 1000)]


@pytest.mark.parametrize("endless", [999_999, 1e12, 1e300, math.inf])
def test_what_is_kept_for_ever_is_not_forgotten(tmp_path: Path, endless: float) -> None:
    history = History(str(tmp_path / "history.db"), days=endless, megabytes=endless)
    history.add([entry("now"), entry("long ago", time=utc_now() - datetime.timedelta(days=9000))])
    history.forget()
    assert names(history) == ["long ago", "now"]
    history.close()


@pytest.mark.parametrize("wrong", [{"days": math.nan}, {"days": -1.0}, {"megabytes": math.nan}])
def test_a_history_that_cannot_be_meant(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="give 0 or more"):
        History(str(tmp_path / "history.db"), **wrong)
    assert not list(tmp_path.iterdir())


def test_what_is_scored_is_kept_and_labelled(
    service: Any, path: Path, history: History, images: np.ndarray, png: Png
) -> None:
    with service(path, history=history) as client:
        assert client.get("/models").json()["history"]
        sent = [("files", (f"{n}.png", png(image))) for n, image in enumerate(images)]
        sent.insert(1, ("files", ("broken.png", b"no image")))
        results = client.post("/models/part/score?false_alarm_rate=0.5", files=sent).json()["results"]
        assert results.pop(1)["entry"] is None
        told = client.get("/history").json()
        assert not told["more"]
        kept = {each["id"]: each for each in told["entries"]}
        assert len(kept) == len(images)
        client.post("/models/part/score?keep=false", files=sent)
        assert client.get("/history").json() == told
        for result in results:
            found = kept[result["entry"]]
            assert [found[key] for key in ("name", "p_value", "is_anomaly", "false_alarm_rate", "label")] == [
                *(result[key] for key in ("name", "p_value", "is_anomaly")), 0.5, None
            ]  # fmt: skip
        thumbnail = client.get(f"/history/{results[-1]['entry']}/thumbnail")
        assert thumbnail.headers["Content-Type"] == "image/jpeg"
        picture = np.asarray(Image.open(io.BytesIO(thumbnail.content)))
        assert np.abs(picture.astype(int) - images[-1]).mean() < 12  # a JPEG loses a little
        url = f"/history/{results[0]['entry']}/label"
        assert client.put(url, json={"label": "anomalous"}).json() == {"label": "anomalous"}
        assert [each["name"] for each in client.get("/history?label=anomalous").json()["entries"]] == ["0.png"]
        client.put(url, json={"label": None})
        assert client.get("/history?label=anomalous").json()["entries"] == []
        assert client.put("/history/999/label", json={"label": "normal"}).status_code == 404
        assert client.put(url, json={"label": "nice"}).status_code == 422
        flagged = client.get("/history?is_anomaly=true&model=part").json()["entries"]
        assert len(flagged) == sum(result["is_anomaly"] for result in results)
        first = client.get("/history?limit=5").json()
        assert first["more"]
        rest = client.get(f"/history?before={first['entries'][-1]['id']}").json()
        assert [each["id"] for each in first["entries"] + rest["entries"]] == sorted(kept, reverse=True)


def test_what_cannot_be_read_is_not_kept(service: Any, path: Path, history: History) -> None:
    with service(path, history=history) as client:
        answer = client.post("/models/part/score", files=[("files", ("a.png", b"no image"))])
        assert answer.json()["results"][0]["entry"] is None
        assert client.get("/history").json()["entries"] == []


def test_tensors_are_kept_too(service: Any, path: Path, history: History, images: np.ndarray) -> None:
    tensor = {"name": "image", "shape": [*images.shape, 1], "datatype": "UINT8", "data": images.ravel().tolist()}
    with service(path, history=history) as client:
        client.post("/v2/models/part/infer", json={"inputs": [tensor]})
        assert len(client.get("/history").json()["entries"]) == len(images)


def test_a_history_that_fails_costs_no_answer(
    service: Any, path: Path, history: History, images: np.ndarray, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(History, "add", full)
    with service(path, history=history) as client:
        answer = client.post("/models/part/score", files=[("files", ("a.png", png(images[0])))])
    assert answer.status_code == 200
    assert answer.json()["results"][0]["entry"] is None


def test_without_a_history_there_is_none(client: Any) -> None:
    assert client.get("/models").json()["history"] is False
    assert client.get("/history").status_code == 404


def test_filters(history: History) -> None:
    numbers = history.add([entry("A1.png"), entry("b%.png", is_anomaly=True), entry("c.png", model="lid")])
    assert history.label(numbers[2], "normal")
    assert not history.label(max(numbers) + 1, "normal")
    assert names(history) == ["c.png", "b%.png", "A1.png"]
    assert names(history, name="a1") == ["A1.png"]
    assert names(history, name="%") == ["b%.png"]
    assert names(history, model="lid") == ["c.png"]
    assert names(history, is_anomaly=False) == ["c.png", "A1.png"]
    assert names(history, label="none") == ["b%.png", "A1.png"]
    assert names(history, label="normal") == ["c.png"]
    assert names(history, before=numbers[1]) == ["A1.png"]


def test_what_is_old_is_forgotten(history: History) -> None:
    old = utc_now() - datetime.timedelta(days=31)
    history.add([entry("old.png", time=old), entry("new.png")])
    history.forget()
    assert names(history) == ["new.png"]


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 400_000), min_size=1, max_size=8))
def test_the_oldest_of_what_is_too_much_is_forgotten(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    history = History(str(tmp_path_factory.mktemp("history") / "h.db"), megabytes=1)
    added = [entry(f"{n}", thumbnail=b"x" * size) for n, size in enumerate(sizes)]
    taken = [each.size for each in reversed(added)]  # the latest first
    assert sum(taken) == sum(sizes) + 301 * len(sizes)
    history.add(added)  # of so much at once, what is too much is forgotten at once
    kept = sum(each.size for each in history.entries(Filter(), 100))
    assert kept <= 1 << 20 or sum(taken) < 0.05 * (1 << 20)
    history.forget()
    fit = int((np.cumsum(taken) <= 1 << 20).sum())
    assert names(history) == [f"{n}" for n in range(len(sizes))][::-1][:fit]
    history.close()


def test_the_file_is_shared_and_has_the_tables_that_the_code_expects(history: History, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'history.db'}")
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_it_is_there_after_another_start(history: History, tmp_path: Path) -> None:
    history.add([entry("a.png")])
    history.close()
    again = History(f"sqlite:///{tmp_path / 'history.db'}")
    assert names(again) == ["a.png"]
    again.close()


@pytest.mark.parametrize("url", ["missing/h.db", "text.db", "nonsense://x", "mysql+none://user:secret@host/d"])
def test_what_cannot_be_opened_is_said(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("no database, " * 100)
    with pytest.raises(ServiceError, match="give another --store") as told:
        History(url)
    assert "secret" not in str(told.value)


def test_a_database_of_a_newer_version_is_left_alone(history: History, tmp_path: Path) -> None:
    history.close()
    connection = sqlite3.connect(tmp_path / "history.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ServiceError, match="9999"):
        History(str(tmp_path / "history.db"))
