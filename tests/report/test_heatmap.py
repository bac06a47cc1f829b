"""Maps on a fixed scale, and pictures as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amiss.errors import DataError
from amiss.report import overlay, thumbnail_data_uri

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def change(value: float, threshold: float = 2.0, floor: float = 1.0) -> float:
    shown = overlay(PHOTO, np.full((5, 5), value, np.float32), threshold, floor)
    return float(np.abs(shown.astype(float) - PHOTO).mean())


@pytest.mark.parametrize("value", [-50.0, 0.0, 1.0, float("nan"), float("-inf")])
def test_at_or_below_the_floor_the_picture_is_unchanged(value: float) -> None:
    assert change(value) == 0


def test_a_good_picture_is_not_stretched() -> None:
    quiet = np.random.default_rng(1).uniform(1.0, 1.3, (8, 8)).astype(np.float32)
    shown = overlay(PHOTO, quiet, threshold=2.0, floor=1.0)
    assert np.abs(shown.astype(int) - PHOTO).max() < 0.07 * 255


def test_above_the_threshold_it_is_clearly_coloured_and_saturates() -> None:
    assert 3 * change(1.5) < change(2.2)
    assert change(2.2) > 40
    assert change(4.0) == change(400.0) == change(float("inf")) > 0


def test_lightness_rises_with_the_map() -> None:
    black = np.zeros((1, 30), np.uint8)
    ramp = np.linspace(1.0, 4.0, 30, dtype=np.float32)[None]
    luma = overlay(black, ramp, threshold=2.0, floor=1.0).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luma[0]) >= -0.5).all()
    assert luma[0, -1] > 150


def test_a_place_is_where_the_map_says() -> None:
    hot = np.ones((4, 6), np.float32)
    hot[0, 0] = 9
    difference = np.abs(overlay(PHOTO, hot, 2.0, 1.0).astype(int) - PHOTO).sum(axis=2)
    assert difference[:8, :8].min() > 0
    assert difference[25:, 25:].max() == 0


@pytest.mark.parametrize(("threshold", "floor"), [(float("inf"), 1.0), (float("nan"), 1.0), (2.0, float("nan"))])
def test_without_a_scale_nothing_is_shown(threshold: float, floor: float) -> None:
    assert change(9.0, threshold, floor) == 0


def test_a_scale_without_width_shows_what_lies_above() -> None:
    assert change(1.0, 1.0, 1.0) == 0
    assert change(1.1, 1.0, 1.0) > 0


@pytest.mark.parametrize(
    "image",
    [
        np.full((6, 7), 128, np.uint8),
        np.full((6, 7, 1), 128, np.uint8),
        np.full((6, 7, 3), 128 / 255, np.float32),
        np.full((6, 7), 128 * 257, np.uint16),
    ],
)
def test_every_kind_of_picture(image: NDArray[np.generic]) -> None:
    shown = overlay(image, np.zeros((3, 3), np.float32), 2.0, 1.0)
    assert shown.shape == (6, 7, 3)
    assert shown.dtype == np.uint8
    assert (shown == 128).all()


def test_the_image_given_stays_as_it_was() -> None:
    before = PHOTO.copy()
    overlay(PHOTO, np.full((5, 5), 9, np.float32), 2.0, 1.0)[:] = 0
    overlay(PHOTO, np.full((5, 5), 9, np.float32), float("inf"), 1.0)[:] = 0
    assert (before == PHOTO).all()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="picture"):
        overlay(np.zeros((4, 4, 4), np.uint8), np.zeros((2, 2), np.float32), 2.0, 1.0)
    with pytest.raises(DataError, match="anomaly map"):
        overlay(PHOTO, np.zeros((2, 2, 2), np.float32), 2.0, 1.0)
    with pytest.raises(DataError, match="picture"):
        thumbnail_data_uri(np.zeros((0, 4), np.uint8))


def test_tiny_images_are_enlarged_pixel_by_pixel() -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (28, 20), dtype=np.uint8)
    picture = decoded(thumbnail_data_uri(tiny, longest=300))
    assert picture.format == "PNG"
    assert picture.size == (200, 280)
    assert (np.asarray(picture)[::10, ::10] == tiny).all()


def test_photos_are_shrunk_and_never_enlarged() -> None:
    large = decoded(thumbnail_data_uri(np.full((300, 1200, 3), 77, np.uint8), longest=400))
    assert (large.format, large.size, large.mode) == ("JPEG", (400, 100), "RGB")
    assert decoded(thumbnail_data_uri(np.zeros((100, 90), np.float32), longest=400)).size == (90, 100)
    assert decoded(thumbnail_data_uri(np.zeros((2, 5000), np.uint8), longest=400)).size == (400, 1)
