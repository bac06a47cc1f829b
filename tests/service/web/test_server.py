"""The command as a process of its own: ready soon, without torch, and a stop that finishes what was accepted."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from amiss.cli import make_app
from amiss.errors import UsageError

Png = Callable[[np.ndarray], bytes]


def test_a_stop_finishes_what_was_accepted(
    process: Callable[..., Any], path: Path, images: np.ndarray, png: Png
) -> None:
    running, address = process(path)
    host, port = address.removeprefix("http://").split(":")
    picture = png(images[0])
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    head = (
        "POST /models/part/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + body[:50])
        with socket.create_connection((host, int(port)), timeout=20) as other:  # the first has been taken by now
            other.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200")
        running.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionError):  # no more is taken
            connect_again_and_again(host, int(port))
        assert running.poll() is None
        connection.sendall(body[50:])
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["name"] == "a.png"
    assert running.wait(20) == 0


def connect_again_and_again(host: str, port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        socket.create_connection((host, port), timeout=20).close()
        time.sleep(0.01)


def test_bad_usage_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMISS_TOKEN", raising=False)
    result = CliRunner().invoke(make_app(), ["serve", str(path), "--host", "0.0.0.0"])
    assert isinstance(result.exception, UsageError)
    assert "--token" in str(result.exception)


@pytest.mark.parametrize("option", ["--megapixels", "--seconds"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e12"])
def test_limits_have_an_end(path: Path, option: str, value: str) -> None:
    result = CliRunner().invoke(make_app(), ["serve", str(path), option, value, "--host", "0.0.0.0"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_no_torch_is_loaded(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from functools import partial; import amiss\n"
        "from amiss.service.web.app import make_app\n"
        f"make_app([Path({str(path)!r})], partial(amiss.load, without_torch=True))\n"
        "print('torch' in sys.modules, 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
