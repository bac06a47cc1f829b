"""Calibration where normal images hardly differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.errors import DegenerateTrainingWarning
from amiss.testing import task


def flat_images() -> np.ndarray:
    """Images of one grey level each, of which PCA leaves nothing but rounding."""
    levels = np.arange(120, 160, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None], (40, 16, 16)).copy()


def test_rounding_flags_no_image_that_was_learnt_from(tmp_path: Path) -> None:
    detector = amiss.PCA(false_alarm_rate=0.1)
    with pytest.warns(DegenerateTrainingWarning, match="half a grey level"):
        detector.fit(flat_images())
    marked = flat_images()[:3]
    marked[:, 4:8, 6:10] += 30
    assert any("half a grey level" in note for note in detector.notes_)
    path = detector.save(tmp_path / "flat.amiss")
    for model in (detector.model_, amiss.load(path), amiss.load(path).on("onnxruntime")):
        assert not model.predict(flat_images()).any()
        assert model.score(flat_images()).p_values.min() == 1, "their order is rounding"
        assert model.predict(marked).all()


@pytest.mark.parametrize("method", [amiss.PCA, amiss.KNN, amiss.PixelZScore])
def test_images_that_differ_keep_their_scores(method: type[amiss.PCA]) -> None:
    model = method(false_alarm_rate=0.1).fit(task().normal).model_
    assert model.calibration.floor is None
    assert np.ptp(model.calibration.scores["torch"]) > 0
    assert not any("half a grey level" in note for note in model.record.notes)


def test_a_memory_that_knows_its_images_by_heart_keeps_their_scores() -> None:
    """Its score of an image that it holds is 0, and any change of that image raises it above those of the folds."""
    noise = np.random.default_rng(0).normal(128, 1, (100, 32, 32))
    model = amiss.KNN(false_alarm_rate=0.1, calibration="cross").fit(np.rint(noise).astype(np.uint8)).model_
    assert model.calibration.floor is None
    assert np.ptp(model.calibration.scores["torch"]) > 0
