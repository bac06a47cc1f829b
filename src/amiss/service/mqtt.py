"""Records published to an MQTT broker, by the threads of paho-mqtt: a broker that is away stops nobody."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from ..environment import versions
from ..errors import UsageError

#: Seconds between two attempts to connect, at first and at most.
_FIRST_WAIT, _LONGEST_WAIT = 1, 30
#: paho's MQTT_ERR_NO_CONN.
_NOT_CONNECTED = 4
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttPublisher:
    """Publishes records as JSON to one topic, at least once (QoS 1), connecting again where the broker goes away.

    Records wait in memory meanwhile; when too many wait, new ones are left out. Certificates of `mqtts` are checked.

    Args:
        address: `mqtt://HOST[:PORT]/TOPIC` or `mqtts://...`; `user:password@` before the host logs in.
        told: is told in a sentence, once when the broker cannot be reached and once when it can again. The sentences
            name the host alone.
        waiting: records that wait at most.

    Attributes:
        shown: the address as it may be shown.
        delivered: records that the broker has acknowledged.
        undelivered: records that were left out, or not acknowledged when it was closed.

    Raises:
        UsageError: `address` is none.
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(self, address: str, told: Callable[[str], None] = lambda sentence: None, waiting: int = 1000) -> None:
        parts, port, self._topic = _taken_apart(address)
        versions.require("mqtt", "--mqtt", "paho")
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.shown = f"{parts.scheme}://{parts.hostname}:{port}"
        self._told, self._failing = told, False
        self._sent = self.delivered = self.undelivered = 0
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(waiting)
        self._client.reconnect_delay_set(_FIRST_WAIT, _LONGEST_WAIT)
        if parts.username is not None:
            self._client.username_pw_set(
                urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
            )
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._answered
        self._client.on_connect_fail = lambda client, data: self._away("it cannot be reached")
        self._client.on_disconnect = lambda client, data, flags, reason, properties: self._left(reason)
        self._client.on_publish = lambda client, data, number, reason, properties: self._taken()
        self._client.connect_async(str(parts.hostname), port)
        self._client.loop_start()

    def send(self, record: Mapping[str, Any]) -> None:
        """Let a record be published; returns at once.

        Args:
            record: of what JSON can say.
        """
        result = self._client.publish(self._topic, json.dumps(record), qos=1)
        if result.rc in (0, _NOT_CONNECTED):  # not connected: it waits
            self._sent += 1
        else:
            self.undelivered += 1

    def close(self, seconds: float = 1.0) -> None:
        """Wait for the broker to acknowledge what was published, for so many seconds at most."""
        end = time.monotonic() + seconds
        while self.delivered < self._sent and self._client.is_connected() and time.monotonic() < end:
            time.sleep(0.01)
        self.undelivered += self._sent - self.delivered
        self._sent = self.delivered
        self._told = lambda sentence: None
        self._client.disconnect()  # the thread ends by itself: it may be held up by a name that is looked for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taken(self) -> None:
        self.delivered += 1

    def _answered(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._away(f"it answers: {reason}")
        elif self._failing:
            self._failing = False
            self._told(f"the broker at {self.shown} takes records again")

    def _left(self, reason: Any) -> None:
        if reason.is_failure:
            self._away("the connection is lost")

    def _away(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            self._told(f"the broker at {self.shown} takes no records ({why}); they wait, and are sent again")


def _taken_apart(address: str) -> tuple[urllib.parse.SplitResult, int, str]:
    """The parts of an address, the port and the topic."""
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), 0
    topic = urllib.parse.unquote(parts.path.removeprefix("/"))
    if parts.scheme not in _PORTS or not parts.hostname or not topic or re.search(r"[+#\0]", topic + address):
        raise UsageError(
            "the address of a broker must be mqtt://HOST[:PORT]/TOPIC or mqtts://..., the topic without + and #"
        )
    return parts, port, topic
