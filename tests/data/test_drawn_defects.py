"""Drawn defects: seen where their mask says, and hardly anywhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.data.drawn_defects import Defect, Thing, chip, crack, draw_defect, foreign, smear, stain

_DISC = (np.hypot(*(np.mgrid[:40, :40] - 19.5)) < 18).astype(np.float64)
DEFECTS = {
    "crack": crack,
    "stain": stain,
    "chip": chip,
    "smear": smear,
    "foreign": foreign([Thing(_DISC * np.linspace(0.2, 0.9, 40), _DISC)]),
}


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
@given(seed=st.integers(0, 2**32 - 1), side=st.sampled_from([64, 96, 128]))
@settings(max_examples=20, deadline=None)
def test_a_defect_is_seen_where_its_mask_says(defect: Defect, seed: int, side: int) -> None:
    generator = np.random.default_rng(seed)
    rows = np.arange(side) * 24 // side % 2
    picture = np.clip(0.4 + 0.2 * rows[:, None] + generator.normal(0, 0.03, (side, side)), 0, 1)
    before = picture.copy()
    drawn, mask = draw_defect(picture, defect, generator)
    np.testing.assert_array_equal(picture, before)
    assert drawn.shape == mask.shape == (side, side)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert mask.dtype == np.bool_
    assert 0 < mask.mean() < 0.5
    change = np.abs(drawn - picture)
    assert change[mask].mean() > 4 * change[~mask].mean()
    assert change[mask].mean() > 0.5 * picture.std()


def test_the_same_generator_draws_the_same() -> None:
    picture = np.random.default_rng(0).uniform(0.3, 0.6, (96, 96))
    for defect in DEFECTS.values():
        one, other = (draw_defect(picture, defect, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
