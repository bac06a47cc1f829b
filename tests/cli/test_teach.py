"""`amiss teach` from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amiss.testing import task

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")


def write(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_fit_teach_eval(tmp_path: Path, run: Run) -> None:
    good, false = write(tmp_path / "good", task().normal[:60]), write(tmp_path / "false", task().normal[60:70])
    anomalies = task().unseen[task().anomalous]
    missed, bad = write(tmp_path / "missed", anomalies[:10]), write(tmp_path / "bad", anomalies[10:20])
    model, taught = tmp_path / "model.amiss", tmp_path / "taught.amiss"
    settings = ["--set", "filters=8,8,8", "--epochs", "2", "--method", "bcae1"]
    run("fit", str(good), "--out", str(model), *settings).well()
    arguments = ["--normal", str(false), "--anomalous", str(missed), "--epochs", "2"]
    result = run("teach", str(model), *arguments, "--out", str(taught)).well()
    assert "before" in result.out
    assert "kept aside" in result.out
    told = json.loads(run("teach", str(model), *arguments, "--out", str(taught), "--json").well().out)
    assert told["normal"] == told["anomalous"] == 7
    assert "1 lesson" in run("info", str(taught)).well().out
    refused = run("fit", str(good), "--out", str(model), "--method", "adacl", "--anomalies", str(bad))
    assert refused.code == 2
    assert "adnl" in refused.err
    learnt = run(
        "fit", str(good), "--anomalies", str(bad), "--out", str(model), *settings, "--set", "negative=bounded", "--json"
    ).well()
    assert [stage["stage"] for stage in json.loads(learnt.out)["training"]["stages"]] == ["fit", "negative"]
