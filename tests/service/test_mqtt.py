"""Publishing to Debian's mosquitto: what arrives, a broker that comes late, one that is not there."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amiss.errors import UsageError
from amiss.service.mqtt import MqttPublisher

BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")
needs_broker = pytest.mark.skipif(BROKER is None, reason="needs the broker mosquitto, a package of Debian")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Callable[[str], None]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(settings: str = "allow_anonymous true") -> None:
        assert BROKER is not None
        file = tmp_path / "broker.conf"
        file.write_text(f"listener {port} 127.0.0.1\n{settings}\n")
        running.append(subprocess.Popen([BROKER, "-c", str(file)], stderr=subprocess.DEVNULL))
        until(lambda: _answers(port))

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def listening(port: int, topic: str) -> tuple[Any, list[Any]]:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    got: list[Any] = []
    subscribed: list[Any] = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, data, message: got.append(json.loads(message.payload))
    client.on_subscribe = lambda *arguments: subscribed.append(arguments)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(topic, 1)
    until(lambda: bool(subscribed))
    return client, got


@needs_broker
def test_records_arrive_in_order(start: Callable[..., None], port: int) -> None:
    start()
    client, got = listening(port, "hall/events")
    records = [{"event": "start", "number": number} for number in range(50)]
    with MqttPublisher(f"mqtt://127.0.0.1:{port}/hall/events") as publisher:
        for record in records:
            publisher.send(record)
        until(lambda: len(got) == 50)
    client.disconnect()
    client.loop_stop()
    assert got == records
    assert (publisher.delivered, publisher.undelivered) == (50, 0)


@needs_broker
def test_a_broker_that_comes_late_gets_what_waits(start: Callable[..., None], port: int) -> None:
    said: list[str] = []
    with MqttPublisher(f"mqtt://127.0.0.1:{port}/t", said.append, waiting=3) as publisher:
        until(lambda: bool(said))
        for number in range(5):
            publisher.send({"number": number})
        assert publisher.undelivered == 2
        start()
        until(lambda: publisher.delivered == 3)
    assert len(said) == 2
    assert "cannot be reached" in said[0]
    assert "again" in said[1]
    assert publisher.undelivered == 2


@needs_broker
def test_a_login_that_is_refused_is_told_without_it(start: Callable[..., None], port: int, tmp_path: Path) -> None:
    start("allow_anonymous false")
    said: list[str] = []
    with MqttPublisher(f"mqtt://ann:s%40cret@127.0.0.1:{port}/t", said.append) as publisher:
        publisher.send({})
        until(lambda: bool(said))
    assert publisher.undelivered == 1
    for word in ("s%40cret", "s@cret", "ann"):
        assert word not in said[0] + publisher.shown


def test_no_broker_delays_nothing(port: int) -> None:
    begun = time.monotonic()
    with MqttPublisher(f"mqtt://127.0.0.1:{port}/t", waiting=10) as publisher:
        for number in range(100):
            publisher.send({"number": number})
    assert time.monotonic() - begun < 1
    assert (publisher.delivered, publisher.undelivered) == (0, 100)


@pytest.mark.parametrize(
    "address", ["", "localhost/s3cret", "mqtt://h", "mqtt:///s3cret", "mqtt://h/s3cret/#", "http://h/s3cret"]
)
def test_what_is_no_address_is_refused_without_telling_it(address: str) -> None:
    with pytest.raises(UsageError, match="mqtt://HOST") as caught:
        MqttPublisher(address)
    assert "s3cret" not in str(caught.value)
