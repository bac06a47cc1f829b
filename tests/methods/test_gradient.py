"""What only the largest gradient promises."""

from __future__ import annotations

import numpy as np

from amiss.methods.gradient import Gradient
from amiss.testing import task


def test_it_finds_a_scratch_on_a_smooth_surface() -> None:
    rng = np.random.default_rng(0)
    light = np.linspace(90, 160, 48)[:, None] + np.linspace(0, 30, 48)
    smooth = np.clip(light + rng.normal(0, 3, (80, 48, 48)), 0, 255).astype(np.uint8)
    scratched = smooth[:10].copy()
    scratched[:, 20:30, 24] += 60
    detector = Gradient(size="native", false_alarm_rate=0.1).fit(smooth[10:])
    assert detector.predict(scratched).all()
    places = detector.anomaly_map(scratched).reshape(10, -1).argmax(axis=1)
    rows, columns = np.unravel_index(places, (48, 48))
    assert ((rows >= 19) & (rows <= 30) & (np.abs(columns - 24) <= 2)).all()


def test_a_refit_scores_alike_whatever_the_seed() -> None:
    first, other = (Gradient(seed=seed).fit(task().normal).score(task().unseen).scores for seed in (0, 1))
    np.testing.assert_array_equal(first, other)
