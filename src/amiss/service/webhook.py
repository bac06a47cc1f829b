"""Records sent to an HTTP address as JSON, by a thread of its own: a receiver that is slow or dead stops nobody."""

from __future__ import annotations

import base64
import email.message
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from ..errors import UsageError

#: Seconds before a record is sent again, and at most; each wait is twice as long as the one before.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
#: Seconds after which a record that nobody takes is given up: it would hold up those behind it for ever.
_PATIENCE = 3600.0
#: Answers that say "later" rather than "never"; so do all from 500 on.
_LATER = (408, 425, 429)


class Webhook:
    """POSTs records to an address, one after the other, in the order in which they came.

    While the receiver does not answer, or answers 408, 425, 429 or 500 and above, a record is sent again: after half a
    second, then twice as long after every failure, 30 seconds at most, or as its `Retry-After` asks; after an hour it
    is given up. Any other answer but 2xx is a refusal: the record is not sent again. Redirections are not followed,
    because a POST would become a GET. When too many records wait, the oldest is left out. Certificates of `https` are
    checked.

    Args:
        address: `http://` or `https://`; `user:password@` before the host is sent as basic authentication.
        told: is told in a sentence, once when deliveries begin to fail and once when they succeed again. The sentences
            name the host alone: the rest of an address may be a secret.
        waiting: records that wait at most.
        timeout: seconds without an answer after which an attempt has failed.

    Attributes:
        shown: the address as it may be shown.
        delivered: records that the receiver has taken.
        undelivered: records that were given up, refused or left out, or still waited when it was closed.

    Raises:
        UsageError: `address` is none.

    >>> with Webhook("https://user:secret@example.org/hooks/4711") as webhook:
    ...     webhook.shown, webhook.delivered, webhook.undelivered
    ('https://example.org', 0, 0)
    """

    def __init__(
        self,
        address: str,
        told: Callable[[str], None] = lambda sentence: None,
        waiting: int = 1000,
        timeout: float = 10.0,
    ) -> None:
        self._address, self._headers, self.shown = _taken_apart(address)
        self._told, self._most, self._timeout = told, waiting, timeout
        self._open = urllib.request.build_opener(_NoRedirection).open
        self._waiting: deque[tuple[float, bytes]] = deque()  # until when to try, what
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._failing = False
        self.delivered = self.undelivered = 0
        self._sender = threading.Thread(target=self._send_all, name="amiss-webhook", daemon=True)
        self._sender.start()

    def send(self, record: Mapping[str, Any]) -> None:
        """Let a record be sent; returns at once.

        Args:
            record: of what JSON can say.
        """
        body = json.dumps(record).encode()
        with self._changed:
            if self._closing.is_set():
                self.undelivered += 1
                return
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self.undelivered += 1
            self._waiting.append((time.monotonic() + _PATIENCE, body))
            self._changed.notify_all()

    def close(self, seconds: float = 1.0) -> None:
        """Send what waits, each record once more, for so many seconds at most; what is left is undelivered."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._sender.join(seconds)
        with self._changed:
            self.undelivered += len(self._waiting)
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing.is_set():
                    self._changed.wait()
                if not self._waiting:
                    return
                first = self._waiting[0]
            delivered = self._sent(*first)
            with self._changed:
                if self._waiting and self._waiting[0] is first:  # else it was left out, and counted, in the meantime
                    self._waiting.popleft()
                    self.delivered += delivered
                    self.undelivered += not delivered
                elif delivered:
                    self.delivered += 1
                    self.undelivered -= 1

    def _sent(self, until: float, body: bytes) -> bool:
        """Whether the receiver has taken a record, sooner or later."""
        wait = _FIRST_WAIT
        while True:
            reason, again, asked = self._attempt(body)
            if reason is None:
                if self._failing:
                    self._failing = False
                    self._told(f"the webhook at {self.shown} takes records again")
                return True
            if not self._failing:
                self._failing = True
                further = "they wait, and are sent again" if again else "what it refuses is not sent again"
                self._told(f"the webhook at {self.shown} takes no records ({reason}); {further}")
            if not again or self._closing.is_set() or time.monotonic() > until:
                return False
            self._closing.wait(wait if asked is None else min(asked, _LONGEST_WAIT))
            wait = min(_LONGEST_WAIT, 2 * wait)

    def _attempt(self, body: bytes) -> tuple[str | None, bool, float | None]:
        """Why a record was not taken, if so; whether to try again; and after how many seconds, where that was said."""
        request = urllib.request.Request(self._address, body, self._headers)
        try:
            with self._open(request, timeout=self._timeout):
                return None, False, None
        except urllib.error.HTTPError as answer:
            with answer:
                later = answer.code in _LATER or answer.code >= 500
                asked = answer.headers.get("Retry-After", "")
                return f"it answers {answer.code}", later, float(asked) if re.fullmatch(r"\d{1,9}", asked) else None
        except ValueError as error:  # of an address: its own, or that to which it sends on
            return str(error), False, None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            return str(getattr(reason, "strerror", None) or reason or type(reason).__name__), True, None


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer like others."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: email.message.Message,
        newurl: str,
    ) -> None:
        return None


def _taken_apart(address: str) -> tuple[str, dict[str, str], str]:
    """What is asked for, the headers, and what may be shown of an address."""
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[^!-~]", address):
        raise UsageError("the address of a webhook must be http://HOST/... or https://HOST/..., without blanks")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if port is None else f"{name}:{port}"
    headers = {"Content-Type": "application/json", "User-Agent": "amiss"}
    if parts.username is not None:
        secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    asked = urllib.parse.urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return asked, headers, f"{parts.scheme}://{host}"
