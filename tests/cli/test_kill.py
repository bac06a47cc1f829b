"""A slice of benchmarks/kill.py: verbs that are killed leave nothing half-written, and the next run sets it right."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow
FILE = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(kill: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("kill")
    kill.make_data(folder)
    return folder


@pytest.mark.parametrize("verb", ["score", "explain"])
def test_a_kill_at_any_moment_costs_nothing_but_time(verb: str, kill: ModuleType, data: Path) -> None:
    assert kill.tried(kill.verbs()[verb], data, 1, random.Random(0)).wrong == []


def test_the_check_finds_what_is_cut(kill: ModuleType, data: Path, tmp_path: Path) -> None:
    for name in ("m.amiss", "today.mp4", "good/0.png"):
        whole = (data / name).read_bytes()
        cut = tmp_path / Path(name).name
        cut.write_bytes(whole)
        kill.check_whole(tmp_path)
        cut.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(Exception, match=r".+"):
            kill.check_whole(tmp_path)
        cut.unlink()
