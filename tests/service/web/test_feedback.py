"""What people say in the service is learnt from, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from amiss.errors import DataError, ServiceError
from amiss.service import versions
from amiss.service.web.app import make_app
from amiss.service.web.feedback import said_of
from amiss.service.web.history import Filter, History
from amiss.testing import task

from .conftest import load

Png = Callable[[np.ndarray], bytes]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def client_of(path: Path, store: Path, **options: Any) -> TestClient:
    app = make_app([path], load, history=History(str(store)), **options)
    return TestClient(app, base_url="http://127.0.0.1")


def say(client: TestClient, images: np.ndarray, label: str, png: Png) -> list[int]:
    sent = [("files", (f"{label}{n}.png", png(image))) for n, image in enumerate(images)]
    entries = [result["entry"] for result in client.post("/models/part/score", files=sent).json()["results"]]
    for entry in entries:
        client.put(f"/history/{entry}/label", json={"label": label})
    return entries


def test_what_was_said_comes_back_as_images(path: Path, store: Path, png: Png) -> None:
    good, bad = task().normal[:6], task().unseen[task().anomalous][:5]
    with client_of(path, store, keep_images=True) as client:
        assert client.get("/models").json()["images"] is True
        say(client, good, "normal", png)
        say(client, bad, "anomalous", png)
        say(client, good[:1], "anomalous", png)  # said otherwise later: the last word counts
        tensor = {"name": "image", "shape": [1, *bad[0].shape, 1], "datatype": "UINT8", "data": bad[0].ravel().tolist()}
        client.post("/v2/models/part/infer", json={"inputs": [tensor]})
        said, notes = said_of(str(store), "part")  # while the service runs
        latest = client.get("/history?limit=1").json()["entries"][0]["id"]
        client.put(f"/history/{latest}/label", json={"label": "anomalous"})
    np.testing.assert_array_equal(np.stack([item.read() for item in said.normal]), good[1:])
    np.testing.assert_array_equal(np.stack([item.read() for item in said.anomalous]), [*bad, good[0]])
    assert "rest on few images" in notes[0]
    np.testing.assert_array_equal(said_of(str(store), "part")[0].anomalous[-1].read(), bad[0])


@pytest.mark.parametrize(("keep_images", "message"), [(False, "--keep-images"), (True, "of 2 images .* of 1 that")])
def test_too_little_is_refused(path: Path, store: Path, png: Png, keep_images: bool, message: str) -> None:
    with client_of(path, store, keep_images=keep_images) as client:
        say(client, task().normal[:2], "normal", png)
        say(client, task().unseen[:1], "anomalous", png)
        with pytest.raises(DataError, match=message):
            said_of(str(store), "part")
        with pytest.raises(DataError, match="knows of others: part"):
            said_of(str(store), "lid")


def test_a_store_that_is_not_there_is_not_made(store: Path) -> None:
    with pytest.raises(ServiceError, match="there is no history"):
        said_of(str(store), "part")
    assert not store.exists()


def test_images_count_in_what_is_forgotten(path: Path, store: Path, png: Png) -> None:
    with client_of(path, store, keep_images=True) as client:
        say(client, task().normal[:1], "normal", png)
    history = History(str(store))
    (entry,) = history.entries(Filter(), 10)
    assert entry.size > 300 + len(png(task().normal[0]))
    history.close()


def test_going_back_over_http(path: Path, other: Path, store: Path) -> None:
    first, second = path.read_bytes(), other.read_bytes()
    versions.replace(path, lambda where: where.write_bytes(second))
    app = make_app([path], load, token="secret")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.post("/models/part/back").status_code == 401
        assert path.read_bytes() == second
        client.headers["Authorization"] = "Bearer secret"
        details = client.get("/models/part").json()
        assert details["method"] == "SSACAE"
        told = client.post("/models/part/back").json()
        assert (told["method"], told["version"]) == ("Panel", details["earlier"])
        assert client.get("/models/part").json()["earlier"] is None
        refused = client.post("/models/part/back")
        assert refused.status_code == 422
        assert "no earlier version" in refused.json()["error"]
        assert client.post("/models/lid/back").status_code == 404
    assert path.read_bytes() == first
    assert [each.path.read_bytes() for each in versions.versions(path)] == [first, second]
