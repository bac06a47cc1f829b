"""Regions of interest: drawn as users write them, and what is left of an image."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from amiss.data.drawn_region import read_region
from amiss.data.preprocessing import Preprocessing
from amiss.data.region_of_interest import RegionOfInterest
from amiss.errors import DataError, UsageError

GRAY = np.arange(200, dtype=np.uint8).reshape(10, 20)


def test_a_box_in_pixels_is_that_box() -> None:
    expected = np.zeros((10, 20), bool)
    expected[3:7, 2:12] = True
    roi = read_region(["2, 3, 10, 4"], [], [GRAY])
    np.testing.assert_array_equal(roi.inside, expected)
    assert roi.fill == round(GRAY[expected].mean())
    np.testing.assert_array_equal(read_region(["0.1,0.3,0.5,0.4"], [], [GRAY]).inside, expected)


def test_several_are_joined_and_what_is_ignored_is_taken_away() -> None:
    expected = np.zeros((10, 20), bool)
    expected[:5], expected[8:], expected[:, 19] = True, True, False
    roi = read_region(["0,0,20,5", "0,8,20,2"], ["19,0,1,10"], [GRAY])
    np.testing.assert_array_equal(roi.inside, expected)
    np.testing.assert_array_equal(read_region([], ["0,0,0.5,1"], [GRAY]).inside[0], [False] * 10 + [True] * 10)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_a_polygon_holds_the_centres_that_matplotlib_finds_in_it(corners: list[tuple[float, float]]) -> None:
    path = pytest.importorskip("matplotlib.path")
    centres = np.stack(np.meshgrid((np.arange(20) + 0.5) / 20, (np.arange(10) + 0.5) / 10), axis=-1).reshape(-1, 2)
    edges = np.array([*corners, corners[0]])
    # where an edge passes within rounding of a centre, either answer is right; of crossing edges there are two rules
    if any(_distance(centres, a, b).min() < 1e-6 for a, b in pairwise(edges)) or _crosses(edges):
        return
    expected = path.Path(edges, closed=True).contains_points(centres).reshape(10, 20)
    text = " ".join(f"{x!r},{y!r}" for x, y in corners)
    if not expected.any():
        with pytest.raises(UsageError, match="holds no pixel"):
            read_region([text], [], [GRAY])
    else:
        np.testing.assert_array_equal(read_region([text], [], [GRAY]).inside, expected)


def _distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = b - a
    at = np.clip((points - a) @ along / max(along @ along, 1e-300), 0, 1)
    return np.linalg.norm(points - a - at[:, None] * along, axis=1)


def _crosses(edges: np.ndarray) -> bool:
    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    pairs = list(pairwise(edges))
    return any(
        side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0
        for i, (a, b) in enumerate(pairs)
        for c, d in pairs[i + 2 : len(pairs) - (i == 0)]
    )


def test_a_mask_is_white_where_to_look_at_any_size_of_that_aspect(tmp_path: Path) -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[:10] = 255
    Image.fromarray(mask).save(tmp_path / "where.png")
    roi = read_region([str(tmp_path / "where.png")], [], [GRAY])
    assert roi.inside.sum(axis=1).tolist() == [20] * 5 + [0] * 5
    Image.fromarray(mask[:, :20]).save(tmp_path / "square.png")
    with pytest.raises(DataError, match=r"square\.png is 20 wide and 20 high"):
        read_region([str(tmp_path / "square.png")], [], [GRAY])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("15,3,10,4", "reaches beyond the images, which are 20 wide and 10 high"),
        ("-1,3,10,4", "reaches beyond"),
        ("nan,3,10,4", "reaches beyond"),
        ("1,2,3", "no box, no polygon, and no file that is there"),
        ("no/such.png", "no box, no polygon, and no file that is there"),
        ("3,3,0,0", "holds no pixel"),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_region([text], [], [GRAY])


def test_pixels_are_of_images_of_one_size() -> None:
    with pytest.raises(UsageError, match="several sizes, 20x10 and 10x20 among them"):
        read_region(["2,3,4,4"], [], [GRAY, GRAY.T])
    assert read_region(["0,0,0.5,1"], [], [GRAY, GRAY.T]).at(20, 10)[:, :5].all()


def test_large_images_are_kept_within_bounds() -> None:
    roi = read_region(["0,0,1500,6000"], [], [np.zeros((6000, 3000), np.uint8)])
    assert (roi.height, roi.width) == (2048, 1024)
    assert abs(roi.at(6000, 3000).mean() - 0.5) < 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_outside_has_no_part_in_the_prepared_image(dtype: type, colour: str) -> None:
    rng = np.random.default_rng(0)
    roi = RegionOfInterest.of(rng.random((9, 13)) > 0.5, fill=51)
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    one, other = ((rng.random((30, 40, 3)) * full).astype(dtype) for _ in range(2))
    other[roi.at(30, 40)] = one[roi.at(30, 40)]
    spec = Preprocessing(colour, 16, 16, roi=roi)  # type: ignore[arg-type]
    prepared = spec.prepare(one)
    np.testing.assert_array_equal(prepared, spec.prepare(other))
    assert prepared.std() > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_outside_is_the_mean_of_the_inside(dtype: type) -> None:
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    images = [np.full((20, 30, 3), share * full).astype(dtype) for share in (0.2, 0.6)]
    for image in images:
        image[:, 15:] = 0
    roi = read_region(["0,0,15,20"], [], images)
    assert roi.fill == 102
    spec = Preprocessing("rgb", 10, 10, roi=roi)
    assert spec.inside is not None
    assert spec.inside[0].tolist() == [True] * 5 + [False] * 5
    prepared = spec.prepare(images[1])
    np.testing.assert_allclose(prepared[:, :, 6:] / (255 if dtype == np.uint8 else 1), 0.4, atol=1e-6)
