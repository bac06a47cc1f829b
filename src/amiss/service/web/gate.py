"""The gate that every request passes: who may enter, how large it may be, how long it may take; and counting it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import BusyError, Limits
from .metrics import Metrics

#: What anybody may ask for: the page, which asks for the token then, and whether the service is up.
_OPEN = ("/", "/v2/health/live", "/v2/health/ready")
_OPEN_FOLDER = "/static/"
#: A page may load its own parts alone, and show pictures that it has made.
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


def is_loopback(host: str | None) -> bool:
    """Whether a name or an address is that of the machine itself, for itself.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "amiss.example")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says in one sentence why there is no other."""
    return JSONResponse({"error": sentence}, status, headers)


class Gate:
    """Middleware around the application, see the module.

    Args:
        app: what is behind it.
        limits: of the service.
        metrics: count and time every request.
        token: that requests must bear. Without one, only those are let in that address the machine itself and come from
            no page of another site, which could else use the service through a browser on this machine.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._token = None if token is None else token.encode()
        self._sending = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS.items()]}
            await send(message)

        try:
            await self._pass(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        sends, size = scope["method"] == "POST", self._size(scope)
        self._sending += sends
        self._bytes += size
        try:
            await self._within_time(scope, receive, send)
        finally:
            self._sending -= sends
            self._bytes -= size

    def _size(self, scope: Scope) -> int:
        """Bytes of the body, as announced; the most that is taken where they are not."""
        if scope["method"] not in ("POST", "PUT"):
            return 0
        length = Headers(scope=scope).get("content-length", "")
        return int(length) if length.isdecimal() else self._limits.bytes

    def _refused(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._token is None:
            for address in (f"//{headers.get('host', 'localhost')}", headers.get("origin", "//localhost")):
                if not is_loopback(_host(address)):
                    return refusal(421, "this service answers to its own machine alone; start it with a token")
        elif path not in _OPEN and not path.startswith(_OPEN_FOLDER):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.encode("latin-1"), self._token)  # the bytes as they were sent
            if not (right and scheme.lower() == "bearer"):
                bearer = {"WWW-Authenticate": "Bearer"}
                return refusal(401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN", bearer)
        size = self._size(scope)
        if size > self._limits.bytes:
            return refusal(413, self._too_large)
        if scope["method"] == "POST" and self._sending >= self._limits.requests:
            return busy(BusyError(1))
        return busy(BusyError(1)) if self._bytes + size > self._limits.together else None

    async def _within_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, begun = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limits.bytes:
                raise HTTPException(413, self._too_large)
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, counted, noted)
        except TimeoutError:
            if begun:
                raise
            late = refusal(503, f"the request took longer than {self._limits.seconds:g} s; send less at once")
            await late(scope, receive, send)

    @property
    def _too_large(self) -> str:
        return f"the request has more than {self._limits.bytes} bytes; send less at once"


def busy(error: BusyError) -> JSONResponse:
    """The answer to who comes too early."""
    return refusal(429, str(error), {"Retry-After": str(error.retry_after)})
