"""A way to run the command line inside the test process, real pictures, and one small fitted model of each kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amiss.cli import main
from amiss.testing import task

#: Settings that make a fit take a second or two.
QUICK = ("--method", "adacl", "--epochs", "1", "--set", "fewest_steps=10", "--false-alarm-rate", "0.1")


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output; fails where there is anything else."""
        return json.loads(self.out)

    def failed(self, code: int, *words: str) -> None:
        """Assert: this exit code, one sentence on standard error, no traceback."""
        assert "Traceback" not in self.err, self.err[-300:]
        assert self.code == code, (self.code, self.err)
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert re.match(r"amiss: \S", lines[0])
        for word in words:
            assert word in lines[0]

    def well(self) -> Done:
        """Assert that it went well; returns itself."""
        assert self.code == 0, self.err[-300:]
        return self


def amiss(*arguments: object) -> Done:
    """Run a command in this process, its standard output and error in pipes."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    before, sys.argv = sys.argv, ["amiss", *map(str, arguments)]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as left:
        code = left.code or 0
    except Exception:  # what Python itself would print
        err.write(traceback.format_exc())
        code = 1
    finally:
        sys.argv = before
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    return Done(int(code), *texts)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}


def spawn(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "amiss", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), **options
    )


@pytest.fixture(scope="session")
def run() -> Callable[..., Done]:
    return amiss


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    return spawn


@pytest.fixture(scope="session")
def quick() -> tuple[str, ...]:
    return QUICK


def _save(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:03}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good/` to fit on, `new/` to score, `mvtec/` to evaluate on; nobody may change them."""
    folder = tmp_path_factory.mktemp("pictures")
    normal, anomalous = task().unseen[~task().anomalous], task().unseen[task().anomalous]
    _save(folder / "good", task().normal[:100])
    _save(folder / "new", np.concatenate([normal[:6], anomalous[:6]]))
    _save(folder / "mvtec" / "train" / "good", task().normal[:100])
    _save(folder / "mvtec" / "test" / "good", normal[:30])
    _save(folder / "mvtec" / "test" / "first", anomalous[:20])
    _save(folder / "mvtec" / "test" / "second", anomalous[20:45])
    _save(folder / "mvtec" / "ground_truth" / "first", anomalous[:20])
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> dict[str, Path]:
    """A fitted model file of each method, from `amiss fit`."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    for method in ("adacl", "bcae1"):
        made[method] = folder / f"{method}.amiss"
        amiss("fit", pictures / "good", "--out", made[method], *QUICK, "--method", method).well()
    assert names(folder) == ["adacl.amiss", "bcae1.amiss"]
    return made


@pytest.fixture(scope="session")
def model(models: dict[str, Path]) -> Path:
    return models["adacl"]


@pytest.fixture(scope="session")
def map_model(models: dict[str, Path]) -> Path:
    return models["bcae1"]
