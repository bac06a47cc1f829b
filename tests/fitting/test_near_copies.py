"""Exposures of one item are found among images that stand alone, and held out together."""

from __future__ import annotations

import numpy as np
import pytest

import amiss
from amiss.fitting.near_copies import FEWEST, near_copies


def exposures(items: int, each: int) -> np.ndarray:
    """(items * each, 64, 64) gray: textures of their own, each in several lights."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(items, 16, 16)).repeat(4, axis=1).repeat(4, axis=2)
    lights = rng.uniform(0.95, 1.05, (items, each, 1, 1))
    lit = (128 + 40 * coarse[:, None]) * lights + rng.normal(0, 2, (items, each, 64, 64))
    return np.rint(lit.clip(0, 255)).astype(np.uint8).reshape(-1, 64, 64)


@pytest.mark.parametrize("n", [20, 60, 200])
def test_independent_draws_stand_alone(n: int) -> None:
    groups = near_copies(np.random.default_rng(n).normal(size=(n, 100)))
    assert len(set(groups.tolist())) == n


@pytest.mark.parametrize("each", [2, 5])
def test_copies_share_a_group_whatever_their_order(each: int) -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(40, 100)).repeat(each, axis=0)
    order = rng.permutation(len(items))
    groups = near_copies((items + 0.1 * rng.normal(size=items.shape))[order])
    owner = np.repeat(np.arange(40), each)[order]
    assert (groups[:, None] == groups).tolist() == (owner[:, None] == owner).tolist()


def test_few_images_and_equal_images_stand_alone() -> None:
    few = np.zeros((FEWEST - 1, 4))
    assert near_copies(few).tolist() == list(range(len(few)))
    equal = np.ones((30, 4))
    assert near_copies(equal).tolist() == list(range(30))


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["cross", "split"])
def test_exposures_of_one_item_are_never_divided(calibration: str) -> None:
    images = exposures(40, 3)
    model = amiss.DFM(size=(64, 64), calibration=calibration).fit(images).model_
    assert any("exposures of one item" in note for note in model.record.notes)
    if calibration == "split":
        digests = amiss.data.stack.load_stack(amiss.open_images(images), model.preprocessing).digests
        item = {digest: index // 3 for index, digest in enumerate(digests)}
        splits = model.record.splits
        parts = [{item[image] for image in part.images} for part in (splits.train, splits.stop, splits.calibrate)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
    alone = amiss.DFM(size=(64, 64), calibration=calibration).fit(images[::3]).model_
    assert not any("exposures of one item" in note for note in alone.record.notes)
