"""Cross-calibration: every image trains and calibrates, and what it is scored by has not seen it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import amiss
from amiss.data.splits import split_folds
from amiss.detectors.detector import Detector
from amiss.errors import DataError, UsageError
from amiss.model.fitted import FittedModel

SIDE = 12


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(4, SIDE * SIDE))
    values = 128 + 20 * rng.normal(size=(count, 4)) @ base + 4 * rng.normal(size=(count, SIDE * SIDE))
    return values.clip(0, 255).astype(np.uint8).reshape(count, SIDE, SIDE)


def fitted(detector: Detector[object], images: NDArray[np.uint8]) -> FittedModel:
    return detector.fit(images).model_


def test_each_image_is_scored_by_a_fit_on_the_other_folds() -> None:
    images = pictures(30)
    model = fitted(amiss.KNN(neighbours=1, size="native"), images)
    folds = split_folds([None] * 30, model.record.splits.train.images)
    flat = images.reshape(30, -1).astype(np.float64) / 255
    expected = np.empty(30)
    for fold in folds:
        others = np.delete(np.arange(30), fold)
        distances = np.linalg.norm(flat[fold][:, None] - flat[others], axis=2)
        expected[fold] = distances.min(axis=1)
    np.testing.assert_allclose(model.calibration.scores["torch"], expected, rtol=1e-4)
    assert model.record.splits.folds == len(folds) == 10
    assert model.record.splits.train.count == model.record.splits.calibrate.count == 30


def test_all_images_train_the_model_that_scores() -> None:
    images = pictures(30)
    assert fitted(amiss.KNN(neighbours=1, size="native"), images).score(images).scores.max() < 1e-3


def test_the_fits_of_the_folds_do_not_change_the_model() -> None:
    images = pictures(40)
    crossed = fitted(amiss.PCA(components=3, size="native", calibration="cross"), images)
    alone = fitted(amiss.PCA(components=3, size="native", calibration="split"), np.concatenate([images, images[:0]]))
    assert crossed.record.splits.train.count == 40
    assert alone.record.splits.train.count < 40
    assert not set(alone.record.splits.calibrate.images) & set(alone.record.splits.train.images)


@pytest.mark.slow
@pytest.mark.parametrize("method", [amiss.KNN, amiss.PCA])
def test_the_rate_is_kept_on_average(method: type[Detector[object]]) -> None:
    """39 images and 10 %: 4 draws of 40 may be above; over 40 fits, within four standard errors."""
    flagged = []
    for seed in range(40):
        images = pictures(139, seed)
        model = fitted(method(size="native", false_alarm_rate=0.1), images[:39])
        flagged.append(model.predict(images[39:]).mean())
    mean, error = np.mean(flagged), np.std(flagged) / np.sqrt(len(flagged))
    assert mean <= 0.1 + 4 * error
    assert mean >= 0.02


def test_few_images_will_do() -> None:
    images = pictures(5)
    model = fitted(amiss.KNN(size="native"), images)
    assert model.record.splits.folds == 5
    assert model.decision.attainable_rate == pytest.approx(1 / 6)
    with pytest.raises(DataError, match="at least 4"):
        amiss.KNN(size="native").fit(images[:3])


def test_groups_stay_together() -> None:
    folds = split_folds(["a", "a", "b", "b", "c", None], [str(number) for number in range(6)])
    where = {int(index): number for number, fold in enumerate(folds) for index in fold}
    assert where[0] == where[1] != where[2] == where[3]
    with pytest.raises(DataError, match="one group"):
        split_folds(["a"] * 6, [str(number) for number in range(6)])


def test_methods_with_epochs_hold_images_out() -> None:
    with pytest.raises(UsageError, match="calibration=split"):
        amiss.ADACL(calibration="cross").fit(pictures(20))
    assert not amiss.ADACL().cross_calibrates(100)
    assert amiss.KNN().cross_calibrates(500)
    assert not amiss.KNN().cross_calibrates(501)


def test_the_promise_says_how_it_came_about() -> None:
    sentence = fitted(amiss.KNN(size="native", false_alarm_rate=0.1), pictures(30)).decision.explain()
    assert "about 10 %" in sentence
    assert "had not seen them" in sentence
    assert "95 %" not in sentence
