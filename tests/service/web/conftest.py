"""The service with a small model, asked in this process and as a process of its own."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import amiss
from amiss.model import FittedModel
from amiss.service.web.app import make_app
from amiss.service.web.history import History
from amiss.service.web.limits import Limits
from amiss.testing import task

FILES = Path(__file__).parents[2] / "registry" / "files"
load = partial(amiss.load, without_torch=True)


def as_png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def serving(
    *paths: Path, token: str | None = None, history: History | None = None, **limits: Any
) -> Iterator[TestClient]:
    app = make_app(paths, load, Limits(**limits), token, history)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def service() -> Callable[..., Any]:
    return serving


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray], bytes]:
    return as_png


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model file that a test may replace."""
    return Path(shutil.copy(FILES / "panel.amiss", tmp_path / "part.amiss"))


@pytest.fixture(scope="session")
def other() -> Path:
    """Another model's file."""
    return FILES / "ssa_cae.amiss"


@pytest.fixture(scope="session")
def model() -> FittedModel:
    """That of `path`."""
    return load(FILES / "panel.amiss")


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(Path(shutil.copy(FILES / "panel.amiss", tmp_path_factory.mktemp("client") / "part.amiss"))) as client:
        yield client


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(12, 16, 16) uint8, some normal and some not."""
    return task().unseen[::20][:12]


@pytest.fixture
def process() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts `amiss serve` on a free port; gives the process and its address."""
    started = []

    def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "amiss", "serve", *map(str, arguments), "--port", "0", "--json"]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(running)
        assert running.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            line = running.stdout.readline()
            assert line, running.communicate()[1]
            told += line
        return running, json.loads(told)["address"]

    yield start
    for running in started:
        if running.poll() is None:
            running.kill()
        running.communicate()
