"""What only BCAE1 promises."""

from __future__ import annotations

import numpy as np
import pytest

import amiss
from amiss.calibration.maps import smoothed
from amiss.data import Collection, Item
from amiss.data.preprocessing import to_float
from amiss.errors import UsageError
from amiss.testing import fitted, task


def test_score_is_the_mean_of_the_map() -> None:
    detector = fitted(amiss.BCAE1)
    maps = detector.anomaly_map(task().unseen)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), detector.score(task().unseen).scores, rtol=1e-4)


def test_the_map_scale_keeps_good_images_dark() -> None:
    detector = fitted(amiss.BCAE1)
    scale = detector.map_scale_
    assert scale is not None
    highest = smoothed(detector.anomaly_map(task().normal)).max(axis=(1, 2))
    assert (highest > scale.threshold).mean() < 0.3
    assert np.median(smoothed(detector.anomaly_map(task().normal))) < scale.threshold / 4
    anomalous = smoothed(detector.anomaly_map(task().unseen[task().anomalous])).max(axis=(1, 2))
    assert (anomalous > scale.threshold).mean() > 0.8, "a map that shows nothing helps nobody"


def test_defaults_are_the_papers() -> None:
    settings = amiss.BCAE1().get_params()
    assert (settings["epochs"], settings["patience"]) == (300, 8)
    assert (settings["learning_rate"], settings["plateau_factor"], settings["plateau_patience"]) == (1e-3, 0.75, 4)
    assert to_float(np.array([255], np.uint8)) == 1


def test_native_size_looks_at_every_image() -> None:
    items = [Item(str(i), lambda i=i: task().normal[i]) for i in range(99)]  # type: ignore[misc]
    odd = Item("odd", lambda: task().normal[0][:12])
    with pytest.raises(UsageError, match=r"one size.*12x16"):
        amiss.BCAE1(size="native").fit(Collection([*items[:50], odd, *items[50:]]))
