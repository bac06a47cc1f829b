"""What is measured of a picture, and when it is called unlike the normal ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageStat

from amiss.data.appearance import Appearance, UsualAppearance
from amiss.data.preprocessing import Preprocessing

SPEC = Preprocessing("rgb", 64, 64)


def photograph(seed: int, light: float = 1.0) -> np.ndarray:
    """(96, 96, 3) uint8: the same scene, noise and light a little different each time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    scene = 110 + 40 * np.sin(x / 5) * np.cos(y / 7) + 20 * np.sin(x + y) + rng.normal(0, 4, (96, 96))
    coloured = scene[..., None] * np.array([1.0, 0.9, 0.7]) * light * rng.normal(1, 0.02)
    return np.clip(coloured, 0, 255).astype(np.uint8)


def measured(pixels: np.ndarray) -> Appearance:
    return Appearance.of(pixels, SPEC.prepare(pixels))


USUAL = UsualAppearance.of([measured(photograph(seed)) for seed in range(30)])


def test_measures_are_those_of_pillow() -> None:
    pixels = photograph(0)
    found = measured(pixels)
    band = ImageStat.Stat(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR).getchannel("G"))
    assert found.brightness == pytest.approx(band.mean[0] / 255)
    assert found.contrast == pytest.approx(band.stddev[0] / 255)
    assert found.saturation == pytest.approx(float(np.ptp(pixels.astype(int), axis=2).mean()) / 255)
    assert (found.height, found.width, found.bits, found.top) == (96, 96, 8, pixels.max() / 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_depth_changes_no_other_measure(dtype: type) -> None:
    pixels = photograph(0)
    deep = pixels if dtype is np.uint8 else pixels.astype(np.uint16) * 257
    found = measured((deep / np.float32(65535)).astype(np.float32) if dtype is np.float32 else deep)
    assert found.bits == {np.uint8: 8, np.uint16: 16, np.float32: 0}[dtype]
    for name in ("top", "brightness", "contrast", "sharpness", "saturation"):
        assert found.value(name) == pytest.approx(measured(pixels).value(name), rel=0.03), name


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,)]), st.sampled_from(["u1", "u2", "f4"]))
def test_any_picture_can_be_measured(height: int, width: int, channels: tuple[int, ...], dtype: str) -> None:
    found = measured(np.zeros((height, width, *channels), dtype))
    assert [found.value(name) for name in ("brightness", "contrast", "sharpness", "saturation", "top")] == [0.0] * 5
    assert found.value("aspect") == width / height


def test_pictures_of_the_same_kind_get_no_note() -> None:
    assert [USUAL.note(measured(photograph(seed))) for seed in range(100, 140)] == [None] * 40


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(4)))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda pixels: pixels // 2, "darker (brightness 0."),
        (lambda pixels: np.minimum(pixels * 1.5, 255).astype(np.uint8), "brighter (brightness 0."),
        (blurred, "more blurred (sharpness 0."),
        (lambda pixels: np.full_like(pixels, 110), "flatter (contrast 0, theirs 0."),
        (lambda pixels: pixels[..., 0], "paler (saturation 0, theirs 0."),
        (lambda pixels: pixels[:, :60], "narrower (aspect 0.62, theirs 1)"),
        (lambda pixels: pixels[:60], "wider (aspect 1.6, theirs 1)"),
        (lambda pixels: np.repeat(np.repeat(pixels, 2, 0), 2, 1), "larger (side 192, theirs 96)"),
        (lambda pixels: pixels.astype(np.uint16) * 257, "16 bits a channel (theirs 8)"),
        (lambda pixels: pixels.astype(np.uint16) << 4, "as if 12 bits were stored in 16 and not scaled up"),
    ],
)
def test_a_difference_is_named_with_its_figures(change: Callable[[np.ndarray], np.ndarray], word: str) -> None:
    note = USUAL.note(measured(change(photograph(50))))
    assert note is not None
    assert note.startswith("unlike the images learnt from: ")
    assert word in note


def test_pictures_learnt_from_that_were_not_scaled_up_are_told_of_once() -> None:
    deep = UsualAppearance.of([measured(photograph(seed).astype(np.uint16) << 4) for seed in range(9)])
    assert deep.unscaled is not None
    assert "12 bits were stored in 16" in deep.unscaled
    assert deep.note(measured(photograph(50).astype(np.uint16) << 4)) is None
    assert USUAL.unscaled is None


def test_images_of_many_kinds_let_more_pass() -> None:
    broad = USUAL.joined(UsualAppearance.of([measured(photograph(seed, light=0.5)) for seed in range(5)]))
    dark = measured(photograph(50) // 2)
    assert (broad.images, broad.depths) == (35, [8])
    assert USUAL.note(dark) is not None
    assert broad.note(dark) is None
