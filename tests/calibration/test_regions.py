"""Regions against SciPy's labels, their masks against a decoder of COCO's encoding, their place in the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from amiss.calibration import Decision, MapScale, Region, find_regions, smoothed
from amiss.calibration.maps import resized
from amiss.data.preprocessing import Preprocessing

#: Above half is a region.
SCALE = MapScale(0.0, 0.5)
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
#: Of a few bright places, or noise, whose regions are many, ragged, and touch at corners.
MAPS = arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, 0.4, 2.0, 5.0])) | st.builds(
    lambda seed, shape: np.random.default_rng(seed).random(shape, dtype=np.float32), st.integers(0, 2**32 - 1), SHAPES
)


def same_size(anomaly_map: NDArray[np.float32], scale: MapScale = SCALE) -> list[Region]:
    height, width = anomaly_map.shape
    return find_regions(anomaly_map, scale, Preprocessing("gray", height, width), (height, width))


def decoded(region: Region) -> NDArray[np.bool_]:
    """The mask, as the COCO format describes it: counts of zeros and ones in turn, column after column."""
    height, width = region.size
    pixels: list[bool] = []
    for index, count in enumerate(region.counts):
        pixels += [index % 2 == 1] * count
    assert len(pixels) == height * width
    return np.array([[pixels[x * height + y] for x in range(width)] for y in range(height)])


@settings(deadline=None)
@given(MAPS)
def test_regions_are_the_components_that_scipy_finds(anomaly_map: NDArray[np.float32]) -> None:
    level = smoothed(anomaly_map)
    labels, count = ndimage.label(level > 0.5, structure=np.ones((3, 3)))
    found = same_size(anomaly_map)
    assert len(found) == count
    assert [region.peak for region in found] == sorted((region.peak for region in found), reverse=True)
    for region in found:
        mask = decoded(region)
        (label,) = np.unique(labels[mask])
        np.testing.assert_array_equal(mask, labels == label)
        np.testing.assert_array_equal(region.mask(), mask)
        rows, columns = ndimage.find_objects(labels)[label - 1]
        width, height = columns.stop - columns.start, rows.stop - rows.start
        assert region.box == (columns.start, rows.start, width, height)
        assert region.area == mask.sum()
        assert region.peak == level[mask].max()


@settings(deadline=None)
@given(MAPS)
def test_masks_are_encoded_as_coco_encodes_them(anomaly_map: NDArray[np.float32]) -> None:
    """No count is zero but the first, which is there even where the mask begins inside."""
    for region in same_size(anomaly_map):
        assert all(count > 0 for count in region.counts[1:])
        assert sum(region.counts) == anomaly_map.size
        assert sum(region.counts[1::2]) == region.area


def test_a_mask_that_is_a_whole_column_and_the_head_of_the_next_is_one_run() -> None:
    anomaly_map = np.zeros((40, 40), np.float32)
    anomaly_map[:, 10:20] = 1
    (region,) = same_size(anomaly_map)
    assert region.counts == (400, 400, 800)
    (whole,) = same_size(np.ones((6, 4), np.float32))
    assert whole.counts == (0, 24)


@settings(deadline=None)
@given(MAPS, st.tuples(st.integers(1, 60), st.integers(1, 60)), st.sampled_from(["stretch", "keep"]))
def test_no_size_of_the_image_makes_a_region_where_the_map_has_none(
    anomaly_map: NDArray[np.float32], size: tuple[int, int], aspect: str
) -> None:
    """The threshold is the highest location itself, as it is for a calibration image: rounding must not exceed it."""
    preprocessing = Preprocessing("gray", *anomaly_map.shape, aspect)  # type: ignore[arg-type]
    at_most = MapScale(0.0, float(smoothed(anomaly_map).max()))
    assert find_regions(anomaly_map, at_most, preprocessing, size) == []


@settings(deadline=None)
@given(MAPS, st.tuples(st.integers(1, 60), st.integers(1, 60)), st.sampled_from(["stretch", "keep"]))
def test_regions_lie_in_the_image(anomaly_map: NDArray[np.float32], size: tuple[int, int], aspect: str) -> None:
    preprocessing = Preprocessing("gray", *anomaly_map.shape, aspect)  # type: ignore[arg-type]
    found = find_regions(anomaly_map, SCALE, preprocessing, size)
    union = sum((region.mask().astype(int) for region in found), np.zeros(size, int))
    assert union.max() <= 1
    level = resized(smoothed(anomaly_map)[preprocessing.region(*size)], *size)
    np.testing.assert_array_equal(union == 1, level > 0.5)


@pytest.mark.parametrize(
    ("aspect", "size", "box"),
    [
        ("stretch", (16, 16), (8, 0, 8, 16)),  # the right half, up to the very border
        ("stretch", (64, 160), (80, 0, 80, 64)),
        ("stretch", (8, 4), (2, 0, 2, 8)),
        ("keep", (64, 160), (80, 0, 80, 64)),
        ("keep", (160, 64), (32, 0, 32, 160)),
        ("keep", (8, 8), (4, 0, 4, 8)),
    ],
)
def test_the_right_half_of_the_map_is_the_right_half_of_the_image(
    aspect: str, size: tuple[int, int], box: tuple[int, ...]
) -> None:
    anomaly_map = np.zeros((16, 16), np.float32)
    anomaly_map[:, 8:] = 1
    preprocessing = Preprocessing("gray", 16, 16, aspect)  # type: ignore[arg-type]
    (region,) = find_regions(anomaly_map, SCALE, preprocessing, size)
    assert region.box == box


def test_what_lies_in_the_filling_around_an_image_is_no_region() -> None:
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[:6] = 1
    preprocessing = Preprocessing("gray", 32, 32, "keep")
    assert preprocessing.region(16, 32)[0] == slice(8, 24)
    assert find_regions(anomaly_map, SCALE, preprocessing, (16, 32)) == []
    assert find_regions(anomaly_map, SCALE, Preprocessing("gray", 32, 32), (16, 32)) != []


def test_as_few_normal_images_have_a_region_as_is_promised() -> None:
    """On average over calibration sets, whatever the size of the images; 19 of them promise 5 %."""
    rng = np.random.default_rng(0)
    preprocessing = Preprocessing("gray", 8, 8)
    having = 0
    for _ in range(1000):
        maps = rng.gamma(1.0, size=(20, 8, 8)).astype(np.float32)
        having += bool(find_regions(maps[0], MapScale.of(maps[1:], 0.05), preprocessing, (30, 20)))
    assert Decision(np.zeros(19, np.float32), 0.05).guaranteed
    assert 5 < having < 50 + 3 * np.sqrt(1000 * 0.05 * 0.95)


def test_the_dictionary_is_plain() -> None:
    region = same_size(np.ones((2, 3), np.float32))[0]
    assert region.to_dict() == {
        "box": [0, 0, 3, 2],
        "area": 6,
        "peak": 1.0,
        "mask": {"size": [2, 3], "counts": [0, 6]},
    }
