"""What is too much is refused, and who may not enter is kept out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import amiss
from amiss.errors import ServiceError, UsageError
from amiss.service.web.limits import Admission, BusyError, Limits
from amiss.service.web.server import listen
from amiss.testing import task

Png = Callable[[np.ndarray], bytes]


def upload(client: Any, content: bytes, count: int = 1, **more: Any) -> Any:
    files = [("files", (f"{n}.png", content)) for n in range(count)]
    return client.post("/models/part/score", files=files, **more)


def test_requests_that_are_too_large(service: Any, path: Path, images: np.ndarray, png: Png) -> None:
    picture = png(images[0])
    with service(path, bytes=2 * len(picture) + 400, files=2, waiting=2) as client:
        assert upload(client, picture).status_code == 200
        many = upload(client, picture, 3)
        assert many.status_code == 413
        assert "send less at once" in many.json()["error"]
        unknown = client.post("/v2/models/part/infer", content=iter([b"x" * 1000] * 10))  # its length is not told
        assert unknown.status_code == 413
        tiny = png(np.zeros((1, 1), np.uint8))
        assert "send at most 2 at once" in upload(client, tiny, 3).json()["error"]


def test_a_full_queue_says_when_to_come_again(service: Any, path: Path, images: np.ndarray, png: Png) -> None:
    with service(path, waiting=2, files=2) as client:
        asked: dict[str, Any] = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 1, 1, 1]}]}
        asked["inputs"][0]["data"] = [0, 0]
        app = client.app

        async def at_once() -> list[Any]:
            import httpx2

            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as inner:
                return await asyncio.gather(*(inner.post("/v2/models/part/infer", json=asked) for _ in range(6)))

        answers = client.portal.call(at_once)
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        assert all(int(each.headers["Retry-After"]) >= 1 for each in answers if each.status_code == 429)
        assert client.post("/v2/models/part/infer", json=asked).status_code == 200  # there is room again
        assert "amiss_images_waiting 0.0" in client.get("/metrics").text


def test_what_takes_too_long_is_ended(service: Any, path: Path, images: np.ndarray, png: Png) -> None:
    with service(path, seconds=0.000_001) as client:
        answer = upload(client, png(images[0]))
    assert answer.status_code == 503
    assert "took longer" in answer.json()["error"]


def test_a_token_is_asked_for(service: Any, path: Path, images: np.ndarray, png: Png) -> None:
    with service(path, token="a secret") as client:
        for url in ("/", "/static/page.js", "/v2/health/live", "/v2/health/ready"):
            assert client.get(url).status_code == 200
        for given in (None, "Bearer", "Bearer a", "Basic a secret", "Bearer a secret ", "Bearer \u00e4"):
            headers = {} if given is None else {"Authorization": given.encode()}
            for url in ("/models", "/metrics", "/openapi.json", "/v2", "/static"):
                answer = client.get(url, headers=headers)
                assert answer.status_code == 401, (given, url)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": "Bearer a secret"}
        assert client.get("/models", headers=right).status_code == 200
        assert upload(client, png(images[0]), headers=right).status_code == 200
        assert upload(client, png(images[0])).status_code == 401
        assert client.get("/models", headers={**right, "Host": "amiss.example"}).status_code == 200


def test_without_a_token_another_name_leads_nowhere(client: Any) -> None:
    """A page of another site could else ask by a name that it has made lead here."""
    assert client.get("/models", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/models", headers={"Host": "evil.example:8000"}).status_code == 421
    assert client.get("/models", headers={"Host": "[::1"}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/models", headers={"Host": host}).status_code == 200
    for origin, status in (("http://127.0.0.1:8000", 200), ("https://evil.example", 421), ("null", 421)):
        assert client.get("/models", headers={"Origin": origin}).status_code == status


def test_an_empty_token_is_none(path: Path, service: Any) -> None:
    for token in ("", " "):
        with pytest.raises(UsageError, match="the token is empty"), service(path, token=token):
            pass


def test_a_token_may_have_any_letters(service: Any, path: Path) -> None:
    with service(path, token="größer") as client:
        assert client.get("/models", headers={"Authorization": "Bearer größer".encode()}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "amiss.example"])
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        listen(host, 0, None)


def test_an_address_in_use_is_said() -> None:
    with listen("127.0.0.1", 0, None) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port}, cannot be listened on"):
            listen("127.0.0.1", port, None)


def test_no_answer_tells_what_lies_on_the_machine(
    service: Any, path: Path, images: np.ndarray, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(path) as client:

        def broken(*_: object) -> None:
            raise RuntimeError(f"{path} is broken")

        monkeypatch.setattr("amiss.service.web.batching.score_stream", broken)
        answer = upload(client, png(images[0]))
        assert answer.status_code == 500
        assert answer.json() == {"error": "something went wrong in the service; its log says what"}
        monkeypatch.undo()
        assert upload(client, png(images[0])).status_code == 200  # the next one is served


def test_what_a_model_was_fitted_on_is_told_without_its_path(service: Any, tmp_path: Path) -> None:
    folder = tmp_path / "customer-x"
    folder.mkdir()
    for n, image in enumerate(task().normal[:40]):
        Image.fromarray(image).save(folder / f"{n}.png")
    model = amiss.PCA().fit(str(folder / "*.png")).model_
    assert "customer-x" in model.record.splits.source
    model.save(tmp_path / "part.amiss")
    with service(tmp_path / "part.amiss") as client:
        details = client.get("/models/part")
        assert details.json()["learnt_from"] == f"{model.record.splits.train.count} images"
        assert "customer-x" not in client.get("/models").text + details.text


def test_every_answer_forbids_foreign_parts(client: Any) -> None:
    for url in ("/", "/models", "/nothing"):
        headers = client.get(url).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_metrics_count(service: Any, path: Path, images: np.ndarray, png: Png) -> None:
    with service(path) as client:
        upload(client, png(images[0]), 3)
        upload(client, b"no image")
        client.get("/nothing/at/all")
        text = client.get("/metrics").text
    assert 'amiss_images_total{model="part",result="normal"} 3.0' in text
    assert 'amiss_images_total{model="part",result="unreadable"} 1.0' in text
    assert 'amiss_requests_total{route="/models/{name}/score",status="200"} 2.0' in text
    assert 'amiss_requests_total{route="other",status="404"} 1.0' in text


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_a_limit_has_an_end(seconds: float) -> None:
    with pytest.raises(UsageError, match="give a finite number"):
        Limits(seconds=seconds)


@pytest.mark.parametrize("wrong", [{"bytes": 0}, {"seconds": -1.0}, {"files": 10, "waiting": 9}, {"together": 1}])
def test_limits_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Limits(**wrong)


@given(st.integers(1, 8), st.lists(st.integers(1, 10), max_size=20))
def test_admission_never_holds_more_than_it_may(most: int, wanted: list[int]) -> None:
    admission, held = Admission(most), []
    for images in wanted:
        room = admission.of(images)
        if admission.accepted + images > most:
            with pytest.raises(BusyError):
                room.__enter__()
        else:
            room.__enter__()
            held.append(room)
        assert admission.accepted <= most
    for room in held:
        room.__exit__(None, None, None)
    assert admission.accepted == 0


def test_who_waits_is_told_how_long_the_others_take() -> None:
    admission = Admission(100)
    for _ in range(100):
        admission.took(4, 2.0)
    with admission.of(20):
        assert admission.retry_after == 10
