"""One preprocessing for fit, score and every engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data.preprocessing import Preprocessing, infer_preprocessing, to_float
from amiss.errors import UsageError
from amiss.model.manifest import PreprocessingFacts


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
@pytest.mark.parametrize("shape", [(30, 20), (30, 20, 3)])
def test_any_depth_and_colour_gives_the_same_picture(dtype: type, colour: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    pixels = np.rint(values * top).astype(dtype) if top > 1 else values.astype(dtype)
    spec = Preprocessing(colour, 16, 24)  # type: ignore[arg-type]
    prepared = to_float(spec.prepare(pixels))
    exact = to_float(spec.prepare(values.astype(np.float32)))
    assert prepared.shape == spec.shape
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, exact, atol=1.6 / 255)  # eight bits are rounded once or twice


def test_eight_bit_images_of_the_right_size_pass_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    prepared = Preprocessing("rgb", 9, 11).prepare(pixels)
    np.testing.assert_array_equal(prepared.transpose(1, 2, 0), pixels)


def test_gray_input_of_a_colour_model_is_repeated() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    prepared = Preprocessing("rgb", 8, 8).prepare(pixels)
    for plane in prepared:
        np.testing.assert_array_equal(plane, pixels)


@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_a_flat_picture_stays_flat_at_any_size(height: int, width: int) -> None:
    prepared = Preprocessing("gray", 16, 32).prepare(np.full((height, width), 77, np.uint8))
    assert (prepared == 77).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    prepared = Preprocessing("gray", 16, 16).prepare(stripes)
    assert abs(prepared.astype(float).mean() - 127.5) < 2
    assert prepared.std() < 16


def gray(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        ([gray(28, 28)] * 3, "auto", ("gray", 28, 28)),
        ([gray(28, 28), gray(28, 28, 3)], "auto", ("rgb", 28, 28)),
        ([gray(1024, 1024, 3)] * 2, "auto", ("rgb", 128, 128)),
        ([gray(8, 8)] * 2, "auto", ("gray", 32, 32)),
        ([gray(200, 800)], "auto", ("gray", 64, 256)),
        ([gray(100, 100), gray(90, 100)], (96, 64), ("gray", 96, 64)),
        ([gray(300, 200)], "native", ("gray", 300, 200)),
    ],
)
def test_inferred_size(samples: list[np.ndarray], size: tuple[int, int] | str, expected: tuple[str, int, int]) -> None:
    spec = infer_preprocessing(samples, size)
    assert (spec.colour, spec.height, spec.width) == expected


@given(height=st.integers(1, 90), width=st.integers(1, 90), canvas=st.tuples(st.integers(8, 60), st.integers(8, 60)))
def test_a_kept_aspect_shows_the_whole_image_and_its_mirror_around(
    height: int, width: int, canvas: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    spec = Preprocessing("gray", *canvas, "keep")
    prepared = spec.prepare(pixels)[0]
    rows, columns = spec.region(height, width)
    inner = prepared[rows, columns]
    assert prepared.shape == canvas
    if height <= canvas[0] and width <= canvas[1]:
        np.testing.assert_array_equal(inner, pixels)  # never enlarged
    else:
        shrunk = min(canvas[0] / height, canvas[1] / width)
        for side, length in zip(inner.shape, (height, width), strict=True):
            assert side == 1 or abs(side - shrunk * length) <= 0.5
    before, after = rows.start, canvas[0] - rows.stop
    assert abs(before - after) <= 1
    assert abs(columns.start - (canvas[1] - columns.stop)) <= 1
    mirrored = min(before, len(inner))
    np.testing.assert_array_equal(prepared[before - mirrored : before, columns], inner[:mirrored][::-1])


def test_native_size_holds_the_tallest_and_the_widest() -> None:
    spec = infer_preprocessing([gray(20, 60), gray(50, 30)], "native", "keep")
    assert (spec.height, spec.width, spec.aspect) == (50, 60, "keep")


def test_bad_sizes_are_explained() -> None:
    with pytest.raises(UsageError, match="one size"):
        infer_preprocessing([gray(20, 20), gray(20, 21)], "native")


def test_the_manifest_takes_what_it_is_given() -> None:
    facts = PreprocessingFacts.model_validate(Preprocessing("rgb", 10, 20).to_dict())
    assert (facts.colour, facts.height, facts.width) == ("rgb", 10, 20)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((28, 28), (160, 160)), ((64, 32), (224, 112)), ((128, 128), (256, 256)), ((1270, 500), (408, 160))],
)
def test_a_pretrained_backbone_gets_larger_pictures_of_the_same_shape(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    found = infer_preprocessing([np.zeros(shape, np.uint8)] * 3, enlarged=True)
    assert (found.height, found.width) == expected
