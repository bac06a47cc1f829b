"""`amiss export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amiss.registry import load

Run = Callable[..., Any]


def test_a_model_is_written_with_its_page(run: Run, map_model: Path, tmp_path: Path) -> None:
    found = run("export", map_model, "--out", tmp_path / "out", "--false-alarm-rate", "0.2", "--json").well().json
    assert found["files"] == [str(tmp_path / "out" / name) for name in ("model.onnx", "README.md")]
    assert found["int8"] is None
    threshold = load(map_model, "onnxruntime").with_false_alarm_rate(0.2).decision.threshold
    assert found["threshold"] == threshold
    assert f"the threshold {threshold}" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "model.onnx", "model.xml", "model.bin"])
def test_a_folder_that_holds_other_work_is_refused(name: str, run: Run, map_model: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "model.amiss").touch()
    run("export", map_model, "--out", tmp_path).failed(1, name, "--overwrite")
    assert (tmp_path / name).read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "model.amiss"])
    run("export", map_model, "--out", tmp_path, "--overwrite").well()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.amiss", "model.onnx"]


def test_int8_and_images_go_together(run: Run, model: Path, tmp_path: Path) -> None:
    run("export", model, "--out", tmp_path, "--int8").failed(2, "--images")
    run("export", model, "--out", tmp_path, "--images", tmp_path).failed(2, "--int8")


def test_an_unknown_form_is_bad_usage(run: Run, model: Path, tmp_path: Path) -> None:
    run("export", model, "--out", tmp_path, "--to", "exported").failed(2, "onnx, openvino")
