"""Drift in service: told once, kept across restarts, shown over HTTP and in the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from amiss.service.web.app import make_app
from amiss.service.web.drifting import MESSAGE, DriftWatch
from amiss.service.web.history import History
from amiss.service.web.limits import Limits
from amiss.service.web.metrics import Metrics
from amiss.service.web.models import ServedModel, ServedModels, Workers

from .conftest import load

Png = Callable[[np.ndarray], bytes]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(str(tmp_path / "history.db"))
    yield history
    history.close()


@pytest.fixture
def served(path: Path) -> ServedModel:
    metrics = Metrics()
    return ServedModels([path], load, Workers(Limits(), metrics), metrics)["part"]


def test_a_change_is_told_once_and_kept(history: History, served: ServedModel) -> None:
    told: list[Any] = []
    metrics, rng = Metrics(), np.random.default_rng(0)
    watch = DriftWatch(history, metrics, told.append)
    usual = rng.choice(served.decision.calibration, 300).astype(float)
    high = usual + 10 * np.ptp(served.decision.calibration)
    watch.see(served, usual[:150])
    one = watch.of(served)[0]
    again = DriftWatch(history, metrics, told.append)  # as after another start
    assert again.of(served)[0].to_json() == one.to_json()
    assert not told
    again.see(served, usual[150:])
    again.see(served, high[:100])
    again.see(served, high[100:])
    (record,) = told
    assert record["event"] == "drift"
    assert (record["model"], record["version"], record["message"]) == ("part", served.version, MESSAGE)
    facts = DriftWatch(history, metrics, told.append).facts(served)
    assert facts.changed
    assert facts.changed_since is not None
    assert facts.changed_since.isoformat() == record["time"]
    assert facts.images == 600
    assert b'amiss_drift{model="part"} 1.0' in metrics.text()
    again.begin_anew(served)
    again.see(served, high)  # what is usual now
    assert not again.facts(served).changed
    assert b'amiss_drift{model="part"} 0.0' in metrics.text()
    assert len(told) == 1


def test_what_cannot_be_read_of_a_test_is_begun_anew(history: History, served: ServedModel) -> None:
    history.keep_drift(served.name, served.version, "{}", None)
    watch = DriftWatch(history, Metrics(), lambda record: None)
    assert watch.of(served)[0].seen == 0


def test_over_http(service: Any, path: Path, history: History, images: np.ndarray, png: Png) -> None:
    with service(path, history=history) as client:
        assert 'amiss_drift{model="part"} 0.0' in client.get("/metrics").text
        sent = [("files", (f"{n}.png", png(image))) for n, image in enumerate(images)]
        results = client.post("/models/part/score", files=sent).json()["results"]
        client.post("/models/part/score?keep=false", files=sent)
        told = client.get("/models/part/drift").json()
        assert (told["images"], told["recent"], sum(told["p_values"])) == (len(images),) * 3
        assert told["flagged"] == pytest.approx(np.mean([result["is_anomaly"] for result in results]))
        assert told["p_values"][0] == sum(result["p_value"] <= 0.1 for result in results)
        assert told["log10_needed"] == pytest.approx(2)
        assert client.get("/models/lid/drift").status_code == 404
        assert client.post("/models/part/drift/begin-anew").json()["images"] == 0


def test_without_a_history_nothing_is_watched(client: Any) -> None:
    assert client.get("/models/part/drift").status_code == 404


def test_a_test_that_cannot_be_kept_costs_no_answer(
    service: Any, path: Path, history: History, images: np.ndarray, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(History, "keep_drift", full)
    with service(path, history=history) as client:
        answer = client.post("/models/part/score", files=[("files", ("a.png", png(images[0])))])
    assert answer.status_code == 200


def test_the_webhook_is_told(path: Path, history: History) -> None:
    """That it is handed on, and closed; its own tests send over HTTP."""
    from fastapi.testclient import TestClient

    class Webhook:
        closed = False

        def send(self, record: Any) -> None: ...
        def close(self) -> None:
            self.closed = True

    webhook = Webhook()
    with TestClient(make_app([path], load, Limits(), None, history, webhook=webhook)):  # type: ignore[arg-type]
        pass
    assert webhook.closed
