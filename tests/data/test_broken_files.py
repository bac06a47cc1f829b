"""A slice of benchmarks/broken_files.py: mutated files are read or refused in one line, and the worker is watched."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "broken_files.py"


@pytest.fixture(scope="module")
def broken_files() -> Any:
    spec = importlib.util.spec_from_file_location("broken_files", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "count"), [("images", 300), ("videos", 20), ("model files", 30), ("tables", 60)])
def test_mutated_files_are_read_or_refused(kind: str, count: int, broken_files: Any, tmp_path: Path) -> None:
    (tmp_path / "honest").mkdir()
    broken_files.make_room(kind, tmp_path / "trial")
    honest = broken_files.HONEST[kind](tmp_path / "honest")
    found = []
    for number in range(count):
        path = broken_files.write_trial(kind, number, 1, honest, tmp_path / "trial")
        found.append(broken_files.tried(kind, path))
        path.unlink()
    wrong = [(number, sentence) for number, (outcome, sentence) in enumerate(found) if outcome == "wrong"]
    assert not wrong
    outcomes = {outcome for outcome, _ in found}
    assert outcomes == {"read", "refused"}, "the changes are too weak, or too strong, to tell anything"


def test_honest_files_are_read(broken_files: Any, tmp_path: Path) -> None:
    for kind, make in broken_files.HONEST.items():
        (tmp_path / kind / "honest").mkdir(parents=True)
        broken_files.make_room(kind, tmp_path / kind / "trial")
        for path in make(tmp_path / kind / "honest"):
            here = tmp_path / kind / "trial" / path.name
            here.write_bytes(path.read_bytes())
            assert broken_files.tried(kind, here) == ("read", ""), path.name
            here.unlink()
