"""A receiver that takes records, one that is away, slow, refuses, or says "later"; and no secret in a sentence."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amiss.errors import UsageError
from amiss.service.webhook import Webhook


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it was sent; answers as it is told, 204 without."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.delay = 0.0
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?key=4711"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers)))
        time.sleep(self.server.delay)
        code, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        if code < 300:
            self.server.taken.append(json.loads(body))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.service.webhook._FIRST_WAIT", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.stop()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_records_arrive_in_order(receiver: Receiver) -> None:
    records = [{"event": "start", "number": number, "name": "ä"} for number in range(20)]
    with Webhook(receiver.address) as webhook:
        for record in records:
            webhook.send(record)
    assert receiver.taken == records
    assert (webhook.delivered, webhook.undelivered) == (20, 0)
    path, headers = receiver.asked[0]
    assert path == "/hook?key=4711"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers


def test_a_password_is_sent_and_never_shown(receiver: Receiver) -> None:
    said: list[str] = []
    receiver.answers = [(401, {})]
    address = receiver.address.replace("//", "//ann:s%40cret@")
    with Webhook(address, said.append) as webhook:
        webhook.send({})
        webhook.send({})
    assert receiver.asked[0][1]["Authorization"] == "Basic YW5uOnNAY3JldA=="
    assert len(said) == 2
    for word in ("s%40cret", "s@cret", "ann", "4711", "hook?"):
        assert word not in " ".join([*said, webhook.shown])


def test_later_is_tried_again_and_told_once(receiver: Receiver) -> None:
    said: list[str] = []
    receiver.answers = [(503, {}), (429, {"Retry-After": "0"}), (500, {"Retry-After": "soon"}), (204, {}), (204, {})]
    webhook = Webhook(receiver.address, said.append)
    webhook.send({"number": 1})
    webhook.send({"number": 2})
    until(lambda: webhook.delivered == 2)
    webhook.close()
    assert [record["number"] for record in receiver.taken] == [1, 2]
    assert len(said) == 2
    assert "answers 503" in said[0]
    assert "again" in said[1]


@pytest.mark.parametrize(
    ("answer", "headers"), [(400, {}), (404, {}), (302, {"Location": "/elsewhere"}), (308, {"Location": "/elsewhere"})]
)
def test_a_refusal_is_final_and_holds_up_nothing(receiver: Receiver, answer: int, headers: dict[str, str]) -> None:
    receiver.answers = [(answer, headers)]
    with Webhook(receiver.address) as webhook:
        webhook.send({"number": 1})
        webhook.send({"number": 2})
    assert receiver.taken == [{"number": 2}]
    assert (webhook.delivered, webhook.undelivered, len(receiver.asked)) == (1, 1, 2)


def test_a_receiver_that_is_away_gets_the_newest_when_it_is_back() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    said: list[str] = []
    webhook = Webhook(f"http://127.0.0.1:{port}", said.append, waiting=3)
    for number in range(10):
        webhook.send({"number": number})
    until(lambda: bool(said))
    assert webhook.undelivered == 7
    receiver = Receiver(port)
    until(lambda: webhook.delivered >= 3)
    webhook.close()
    receiver.stop()
    assert [record["number"] for record in receiver.taken][-3:] == [7, 8, 9]
    assert webhook.delivered + webhook.undelivered == 10
    assert len(receiver.taken) == webhook.delivered
    assert "refused" in said[0]


def test_sending_never_waits_and_closing_not_long(receiver: Receiver) -> None:
    receiver.delay = 3
    webhook = Webhook(receiver.address, waiting=5)
    begun = time.monotonic()
    for number in range(1000):
        webhook.send({"number": number})
    assert time.monotonic() - begun < 0.5
    webhook.close(0.1)
    assert time.monotonic() - begun < 1
    assert (webhook.delivered, webhook.undelivered) == (0, 1000)
    webhook.send({})
    assert webhook.undelivered == 1001


def test_a_receiver_that_never_answers_is_given_up_after_the_timeout() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        webhook = Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}", said.append, timeout=0.05)
        webhook.send({})
        until(lambda: bool(said))
        webhook.close(2)
    assert "timed out" in said[0]
    assert webhook.undelivered == 1


def test_a_record_that_nobody_takes_is_given_up_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.service.webhook._PATIENCE", 0.0)
    receiver.answers = [(500, {})]
    webhook = Webhook(receiver.address)
    webhook.send({"number": 1})
    until(lambda: webhook.undelivered == 1)
    webhook.send({"number": 2})
    until(lambda: webhook.delivered == 1)
    webhook.close()
    assert receiver.taken == [{"number": 2}]


@pytest.mark.parametrize(
    "address",
    ["", "example.org/s3cret", "ftp://s3cret@example.org", "http://", "http://host:s3cret", "http://a b/s3cret"],
)
def test_what_is_no_address_is_refused_without_telling_it(address: str) -> None:
    with pytest.raises(UsageError, match="http://HOST") as caught:
        Webhook(address)
    assert "s3cret" not in str(caught.value)
