"""Masks from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data.masks import read_mask
from amiss.data.preprocessing import Preprocessing
from amiss.errors import DataError


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "I;16"])
def test_kinds_of_pictures(mode: str, tmp_path: Path) -> None:
    mask = np.zeros((12, 10), dtype=bool)
    mask[3:6, 2:9] = True
    if mode == "I;16":
        Image.fromarray(mask.astype(np.uint16) * 65535).save(tmp_path / "m.png")
    else:
        Image.fromarray(mask.astype(np.uint8) * 255).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", Preprocessing("gray", 12, 10)), mask)


def test_a_smaller_mask_keeps_half_covered_places_and_never_loses_a_defect(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[8:16, 20:28] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    expected = np.zeros((5, 5), dtype=bool)
    expected[1, 2:4] = True  # columns 20 to 27 cover half of two places
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", Preprocessing("gray", 5, 5)), expected)
    mask[:] = 0
    mask[33, 17] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    small = read_mask(tmp_path / "m.png", Preprocessing("gray", 5, 5))
    assert small.sum() == 1
    assert small[4, 2]
    mask[:] = 0
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert not read_mask(tmp_path / "m.png", Preprocessing("gray", 5, 5)).any()


def test_a_mask_lies_where_its_image_does(tmp_path: Path) -> None:
    mask = np.zeros((10, 30), dtype=np.uint8)
    mask[2:4, 5:9] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    spec = Preprocessing("gray", 24, 40, "keep")
    pixels = spec.prepare(mask)[0]
    inside = spec.region(10, 30)
    found = read_mask(tmp_path / "m.png", spec)
    assert found.sum() == 8
    np.testing.assert_array_equal(found[inside], pixels[inside] > 127)


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        read_mask(tmp_path / "gone.png", Preprocessing("gray", 4, 4))
