"""`amiss info`: what a model file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize("name", ["adacl", "bcae1"])
def test_people_see_the_facts(name: str, run: Run, models: dict[str, Path]) -> None:
    done = run("info", models[name]).well()
    text = " ".join(done.out.split())
    for words in (name, "70 train, 10 stop, 20 calibrate", "gray, 16x16", "10 %", "onnxruntime", "numpy"):
        assert words in text
    assert "With 95 % confidence, this threshold flags at most 21.6 % in the long run." in text
    assert done.err == ""
    assert "\x1b" not in done.out


def test_json_is_the_manifest(run: Run, model: Path) -> None:
    found = run("info", model, "--json").well().json
    assert found["method"] == "adacl"
    assert found["settings"]["epochs"] == 1
    assert len(found["calibration"]["torch"]) == 20


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_damaged_parts_are_found(options: tuple[str, ...], run: Run, model: Path, tmp_path: Path) -> None:
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "bad.amiss").write_bytes(damaged)
    done = run("info", tmp_path / "bad.amiss", *options)
    done.failed(1, "bad.amiss")


def test_what_is_no_model_is_explained(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.amiss").write_text("hello")
    run("info", tmp_path / "text.amiss").failed(1, "text.amiss")
    run("info", tmp_path).failed(1, "folder")
    run("info", tmp_path / "missing.amiss").failed(1, "missing.amiss")
    done = run("info", tmp_path / "missing.amiss", "--json")
    done.failed(1)
    assert set(done.json) == {"error"}
