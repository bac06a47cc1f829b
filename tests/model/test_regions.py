"""Regions of fitted models: they lie on the defect, in pixels of the image itself, and not on images without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import amiss
from amiss.errors import DataError, NoMapError
from amiss.testing import fitted, task

#: Rows and columns of the defect; images are higher than wide and larger than what the model sees.
DEFECT = (slice(50, 110), slice(20, 80))


def textured(n: int, seed: int) -> NDArray[np.uint8]:
    """(n, 160, 120) gray images of broad stripes under noise."""
    rng = np.random.default_rng(seed)
    stripes = 100 + 40 * np.sin(np.arange(120) / 6)
    return np.clip(stripes + rng.normal(0, 8, (n, 160, 120)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=["stretch", "keep"])
def detectors(request: pytest.FixtureRequest) -> list[amiss.Detector]:
    settings = {"false_alarm_rate": 0.02, "size": (80, 80), "aspect": request.param, "seed": 0, "calibration": "split"}
    detectors = amiss.PixelZScore(**settings), amiss.PatchMemory(kept=100, features=None, top=0.1, **settings)
    return [detector.fit(textured(300, 0)) for detector in detectors]


#: Intersection over union with the defect. The window of the smoothing, and the patches, see it from outside too.
OVERLAPS = (0.65, 0.45)


def test_a_region_lies_on_the_defect_and_no_normal_image_has_one(detectors: list[amiss.Detector]) -> None:
    images = textured(6, 1)
    images[3:, DEFECT[0], DEFECT[1]] = 250
    mask = np.zeros(images.shape[1:], bool)
    mask[DEFECT] = True
    for detector, overlap in zip(detectors, OVERLAPS, strict=True):
        found = detector.regions(images)
        assert [len(regions) for regions in found] == [0, 0, 0, 1, 1, 1]
        for (region,) in found[3:]:
            assert region.size == (160, 120)
            inside = region.mask()
            assert inside[DEFECT].all()
            assert mask.sum() / (inside | mask).sum() > overlap
            assert region.peak > detector.map_scale_.threshold


def test_two_defects_are_two_regions_the_stranger_first(detectors: list[amiss.Detector]) -> None:
    image = textured(1, 2)
    image[0, 10:40, 10:40] = 200
    image[0, 100:140, 70:110] = 255
    first, second = detectors[0].regions(image)[0]
    assert first.peak > second.peak
    assert first.box.y > 80 > second.box.y + second.box.height


def test_regions_are_told_in_pixels_of_the_file(detectors: list[amiss.Detector], tmp_path: Path) -> None:
    image = textured(1, 1)[0]
    image[DEFECT] = 250
    Image.fromarray(image).resize((300, 400)).save(tmp_path / "large.png")
    for detector in detectors:
        ((small,),), ((large,),) = detector.regions(image[None]), detector.regions(tmp_path / "large.png")
        assert (small.size, large.size) == ((160, 120), (400, 300))
        np.testing.assert_allclose(np.array(large.box) / 2.5, small.box, atol=3)


def test_without_a_map_there_are_no_regions() -> None:
    with pytest.raises(NoMapError, match="no map"):
        fitted(amiss.OCSVM).model_.regions(task().unseen[:2])
    model = fitted(amiss.OCSVM).model_
    (row,) = model.rows(amiss.open_images(task().unseen[:1]))
    assert model.regions_of(row) == []


def test_an_image_that_cannot_be_read_is_an_error(detectors: list[amiss.Detector], tmp_path: Path) -> None:
    (tmp_path / "broken.png").touch()
    with pytest.raises(DataError, match=r"broken\.png"):
        detectors[0].regions(tmp_path)
