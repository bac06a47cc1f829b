"""The demonstration: pictures that come with scikit-image, a report, and commands that do the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amiss
from amiss.cli.fit import IMAGE_METHOD


@pytest.mark.slow
def test_demo_does_what_the_commands_do_that_it_prints(tmp_path: Path, run: Callable[..., Any]) -> None:
    out = tmp_path / "demo"
    done = run("demo", "--out", out, "--method", "patch_memory", "--seed", 1, "--json").well()
    facts = done.json
    assert facts["n_normal"] == facts["n_anomalous"] == 49
    assert facts["auroc"]["value"] > 0.85
    assert facts["localisation"]["pixel_auroc"] > 0.8
    assert facts["false_alarm_rate"]["promised"] == 0.05
    assert set(facts["kinds"]) == {"crack", "stain", "chip", "smear", "coin"}
    assert "drawn in by us" in facts["notes"][0]
    for words in ("drawn in by us", "No defect was shown", "pixel AUROC", "about 5 %"):
        assert words in done.err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "drawn in by us" in page
    assert "missed" in page.lower()

    model = amiss.load(out / "demo.amiss")
    assert model.decision.guaranteed
    scores = model.score(out / "test").scores
    commands = [shlex.split(line)[1:] for line in done.err.splitlines() if line.strip().startswith("amiss ")]
    assert [command[0] for command in commands] == ["fit", "eval", "score"]
    (out / "demo.amiss").unlink()
    run(*commands[0]).well()
    np.testing.assert_array_equal(amiss.load(out / "demo.amiss").score(out / "test").scores, scores)
    again = run(*commands[1], "--json").well().json
    assert again["localisation"] == facts["localisation"]
    assert again["auroc"] == facts["auroc"]
    run(*commands[2]).well()


def test_the_demo_shows_the_default_method(run: Callable[..., Any]) -> None:
    assert IMAGE_METHOD in run("demo", "--help").well().out


def test_wrong_uses_are_told_before_anything_is_learnt(tmp_path: Path, run: Callable[..., Any]) -> None:
    run("demo", "--out", tmp_path / "demo", "--surface", "marble").failed(2, "marble", "brick, gravel")
    run("demo", "--out", tmp_path / "demo", "--method", "nothing").failed(2, "nothing")
    run("demo", "--out", tmp_path / "demo", "--seed", -1).failed(2, "seed")
    assert not (tmp_path / "demo").exists()
    (tmp_path / "notes.txt").write_text("mine")
    run("demo", "--out", tmp_path).failed(2, str(tmp_path), "new folder")
    run("demo", "--out", tmp_path / "notes.txt").failed(2, "notes.txt", "is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
