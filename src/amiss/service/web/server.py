"""Running the application: an address to listen on, and a stop in good order."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from ...errors import ServiceError, UsageError
from .gate import is_loopback
from .limits import Limits

#: Connections that wait to be taken.
_BACKLOG = 2048


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address of this machine.
        port: 0 for one that is free.
        token: that requests will have to bear.

    Raises:
        UsageError: others could reach the service, and there is no token.
        ServiceError: the address cannot be listened on.
    """
    if token is None and not is_loopback(host):
        raise UsageError(f"at {host} others can reach the service; give a --token, or leave --host at 127.0.0.1")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServiceError(
            f"{host}, port {port}, cannot be listened on ({error.strerror or error}); give another --port or --host"
        ) from error


def run(app: FastAPI, listening: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C, or the signal by which a service manager ends a program: then no more is taken, and what has
    been accepted is finished.

    Args:
        app: see `amiss.service.web.app.make_app`.
        listening: see `listen`.
        limits: of the application; a request that takes longer is not waited for.
        ready: called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        server_header=False,
    )
    with _stopping_is_no_failure():
        _Server(config, ready).run([listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


@contextlib.contextmanager
def _stopping_is_no_failure() -> Iterator[None]:
    """uvicorn sends itself the signal again that it was stopped by; here that ends nothing."""
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
