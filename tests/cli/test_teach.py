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


@pytest.mark.slow
def test_feedback_teaches_and_one_can_go_back(tmp_path: Path, run: Run) -> None:
    history = pytest.importorskip("amiss.service.web.history", reason="needs the extra serve")
    good, model, store = write(tmp_path / "good", task().normal[:60]), tmp_path / "part.amiss", tmp_path / "h.db"
    run("fit", str(good), "--out", str(model), "--method", "bcae1", "--set", "filters=8,8,8", "--epochs", "1").well()
    before = model.read_bytes()
    kept = history.History(str(store))
    for label, images in (("normal", task().normal[60:70]), ("anomalous", task().unseen[task().anomalous][:10])):
        for number, image in enumerate(images):
            file = tmp_path / "one.png"
            Image.fromarray(image).save(file)
            facts = {"version": "1", "score": 1.0, "p_value": 0.5, "is_anomaly": False, "rate": 0.01}
            entry = kept.entry(model="part", name=f"{number}.png", thumbnail=None, image=file.read_bytes(), **facts)
            kept.label(kept.add([entry])[0], label)
    kept.close()
    lesson = ["teach", str(model), "--from", str(store), "--epochs", "1", "--out", str(model)]
    told = json.loads(run(*lesson, "--json").well().out)
    assert (told["normal"], told["anomalous"], told["kept_aside"]) == (7, 7, 6)
    assert "rest on few images" in told["notes"][0]
    assert Path(told["older"]).read_bytes() == before
    assert model.read_bytes() != before
    assert "present" in run("versions", str(model)).well().out
    assert "version 1 again" in run("versions", str(model), "--back").well().out
    assert model.read_bytes() == before
    listed = json.loads(run("versions", str(model), "--json").well().out)
    assert [(each["number"], each["left"], each["present"]) for each in listed] == [(1, False, True), (2, True, False)]
    assert "no earlier version" in run("versions", str(model), "--back").err
    assert run("teach", str(model), "--out", str(model)).code == 2
    assert run(*lesson, "--normal", str(good)).code == 2


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
