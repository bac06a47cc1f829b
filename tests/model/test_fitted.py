"""A fitted model is a value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.errors import UsageError
from amiss.testing import fitted, task


@pytest.fixture
def model() -> amiss.FittedModel:
    return fitted(amiss.PCA).model_


def test_it_is_frozen(model: amiss.FittedModel) -> None:
    for field in dataclasses.fields(model):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(model, field.name, None)


def test_the_detector_passes_on_to_it(model: amiss.FittedModel) -> None:
    detector, unseen = fitted(amiss.PCA), task().unseen[:10]
    np.testing.assert_array_equal(detector.score(unseen).scores, model.score(unseen).scores)
    np.testing.assert_array_equal(detector.predict(unseen), model.predict(unseen))
    np.testing.assert_array_equal(detector.anomaly_map(unseen), model.anomaly_map(unseen))
    assert detector.regions(unseen) == model.regions(unseen)
    assert detector.explain(unseen[0]).words == model.explain(unseen[0]).words
    assert detector.decision_.threshold == model.decision.threshold


def test_another_engine_makes_another_model(model: amiss.FittedModel) -> None:
    other = model.on("onnxruntime")
    assert other is not model
    assert other.engine.name == "onnxruntime"
    assert model.engine.name.startswith("torch")
    assert other.exported() is other
    with pytest.raises(UsageError, match="abacus"):
        model.on("abacus")


def test_other_weights_make_another_model(model: amiss.FittedModel) -> None:
    before = model.score(task().unseen[:10]).scores
    other = model.with_scorer(fitted(amiss.PCA).head(model.preprocessing.shape))
    assert not np.array_equal(other.score(task().unseen[:10]).scores, before)
    np.testing.assert_array_equal(model.score(task().unseen[:10]).scores, before)


def test_it_is_all_that_a_file_needs(model: amiss.FittedModel, tmp_path: Path) -> None:
    loaded = amiss.load(model.save(tmp_path / "model.amiss"))
    assert isinstance(loaded, amiss.FittedModel)
    for name in ("method", "settings", "preprocessing", "false_alarm_rate", "record", "backbone", "device"):
        assert getattr(loaded, name) == getattr(model, name), name
    np.testing.assert_array_equal(loaded.reference, model.reference)
    assert loaded.calibration.map_scale == model.calibration.map_scale


def test_rows_come_in_order_whatever_the_batch(model: amiss.FittedModel) -> None:
    items = amiss.open_images(task().unseen[:9])
    names = [item.name for item in items]
    for size in (1, 4, 100):
        assert [row.item.name for row in model.rows(items, size)] == names


def test_another_rate_decides_by_the_same_scores_and_is_kept(model: amiss.FittedModel, tmp_path: Path) -> None:
    strict, loose = model.with_false_alarm_rate(0.05), model.with_false_alarm_rate(0.4)
    assert loose.decision.threshold < model.decision.threshold <= strict.decision.threshold
    assert amiss.load(loose.save(tmp_path / "loose.amiss")).decision.threshold == loose.decision.threshold
    with pytest.raises(UsageError, match="between 0 and 1"):
        model.with_false_alarm_rate(1.5)


def test_a_detector_in_use_decides_at_the_rate_it_is_set_to() -> None:
    detector = amiss.PCA(false_alarm_rate=0.1).fit(task().normal)
    before = detector.decision_.threshold
    assert detector.set_params(false_alarm_rate=0.4).decision_.threshold < before


def test_it_can_be_sent_to_another_process(model: amiss.FittedModel) -> None:
    unseen = task().unseen[:10]
    for each in (model.on("torch"), model.on("onnxruntime")):
        scores = each.score(unseen).scores
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(each)).score(unseen).scores, scores)
        np.testing.assert_array_equal(copy.deepcopy(each).score(unseen).scores, scores)
