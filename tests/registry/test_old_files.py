"""Files that an earlier version wrote are read, and score as they did: one plain, one on a backbone, one on patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.engines import allowed_difference
from amiss.registry import get_method
from amiss.testing import task

FILES = Path(__file__).parent / "files"
NAMES = sorted(path.stem for path in FILES.glob("*.amiss"))


def test_there_are_three() -> None:
    assert NAMES == ["panel", "patch_memory", "ssa_cae"]


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_what_they_were(name: str, engine: str) -> None:
    model = amiss.load(FILES / f"{name}.amiss", engine)
    with np.load(FILES / "scores.npz") as kept:
        expected = kept[name if engine == "torch" else f"{name} {engine}"]
    found = model.score(task().unseen[::20]).scores
    assert np.abs(found - expected).max() <= allowed_difference(model.calibration.scores["torch"])


@pytest.mark.parametrize("name", NAMES)
def test_written_again_they_say_the_same(name: str, tmp_path: Path) -> None:
    model = amiss.load(FILES / f"{name}.amiss")
    again = amiss.load(model.save(tmp_path / "again.amiss"))
    assert again.settings == model.settings
    assert again.record == model.record
    assert again.decision.explain() == model.decision.explain()


def test_without_facts_of_how_images_look_there_is_no_note() -> None:
    model = amiss.load(FILES / "ssa_cae.amiss")
    assert model.usual is None
    assert set(model.score(task().unseen[:3] // 8).notes) == {None}


def test_their_settings_are_typed_again() -> None:
    settings = amiss.load(FILES / "ssa_cae.amiss").settings
    assert (settings["filters"], settings["gate"], settings["patch"]) == ("8,8", "ssa", "none")
    detector = get_method("ssa_cae")(**settings)
    assert detector.get_params()["filters"] == (8, 8)
    assert detector.get_params()["patch"] is None
    panel = get_method("panel")(**amiss.load(FILES / "panel.amiss").settings)
    assert panel.get_params()["told"] == ("knn.neighbours=1", "pca.components=4")
    assert panel.get_params()["patch"] == (12, 4)
    assert panel.get_params()["vary"] == ("flip",)
