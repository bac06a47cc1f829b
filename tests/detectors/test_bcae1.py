"""What only BCAE1 promises."""

from __future__ import annotations

import numpy as np

import amiss
from amiss.data.preprocessing import to_float
from amiss.testing import fitted, task


def test_score_is_the_mean_of_the_map() -> None:
    detector = fitted(amiss.BCAE1)
    maps = detector.anomaly_map(task().unseen)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), detector.score(task().unseen).scores, rtol=1e-4)


def test_the_map_scale_keeps_good_images_dark() -> None:
    detector = fitted(amiss.BCAE1)
    scale = detector.map_scale_
    assert scale is not None
    highest = detector.anomaly_map(task().normal).max(axis=(1, 2))
    assert (highest > scale.threshold).mean() < 0.3
    assert np.median(detector.anomaly_map(task().normal)) < scale.threshold / 4


def test_defaults_are_the_papers() -> None:
    settings = amiss.BCAE1().get_params()
    assert (settings["epochs"], settings["patience"]) == (300, 8)
    assert (settings["learning_rate"], settings["plateau_factor"], settings["plateau_patience"]) == (1e-3, 0.75, 4)
    assert to_float(np.array([255], np.uint8)) == 1
