"""What an explanation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from amiss.data.preprocessing import Preprocessing
from amiss.explain.explainers.occlusion import sliding
from amiss.explain.explanation import Explanation, Region, Replaced, regions_of, standing_out, where
from amiss.report.explained import explained_picture


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_regions_hold_the_mask_and_nothing_empty(mask: np.ndarray) -> None:
    regions = regions_of(mask, np.ones(mask.shape, np.float32))
    together = np.zeros(mask.shape, bool)
    for region in regions:
        inside = mask[region.slices]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        together |= region.mask(mask.shape)
    assert not (mask & ~together).any()


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 50), st.integers(1, 50)),
       st.floats(0, 0.9))  # fmt: skip
def test_windows_cover_everything_and_stay_inside(
    size: tuple[int, int], window: tuple[int, int], overlap: float
) -> None:
    covered = np.zeros(size, bool)
    for region in sliding(size, window, overlap):
        assert region.top >= 0
        assert region.top + region.height <= size[0]
        assert region.left + region.width <= size[1]
        covered |= region.mask(size)
    assert covered.all()


@given(arrays.arrays(np.float32, (9, 9), elements=st.floats(-5, 5, width=32)))
def test_what_stands_out_is_never_all(places: np.ndarray) -> None:
    assert not standing_out(places).all()


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(0, 2), slice(0, 2), "upper left"),
        (slice(4, 5), slice(4, 5), "in the centre"),
        (slice(8, 9), slice(3, 6), "lower centre"),
        (slice(3, 6), slice(8, 9), "middle right"),
        (slice(0, 9), slice(0, 9), "all over"),
        (slice(0, 0), slice(0, 0), "nowhere"),
    ],
)
def test_places_in_words(rows: slice, columns: slice, words: str) -> None:
    mask = np.zeros((9, 9), bool)
    mask[rows, columns] = True
    assert where(mask.shape, regions_of(mask, mask.astype(np.float32)), float(mask.mean())) == words


def test_two_places_are_not_one_in_between() -> None:
    places = np.zeros((60, 60), np.float32)
    places[29:31, 2:4], places[29:31, 56:58] = 1, 2
    assert where(places.shape, regions_of(places > 0, places), 0.002) == "middle right and in 1 other place"


def explanation(is_anomaly: bool = True, still: bool = False) -> Explanation:
    places = np.zeros((40, 40), np.float32)
    places[2:6, 30:36] = 1
    mask = places > 0
    return Explanation(
        "x.png", "occlusion", places, mask, [Region(2, 30, 4, 6)], 3.0, 0.002 if is_anomaly else 0.4, is_anomaly,
        Replaced(1.0, 0.41, still), {"seed": 0}, "nearest", 10, 0.5, None, ["a note"],
    )  # fmt: skip


def test_the_sentence() -> None:
    assert explanation().words == (
        "amiss (p 0.002): the reason sits in 1.5 % of the image, upper right; "
        "as expected there, p would be 0.410: normal"
    )
    assert explanation(still=True).words.endswith("still amiss")
    assert explanation(is_anomaly=False).words.startswith("normal (p 0.400): what stands out most is 1.5 %")


def test_the_record_is_json() -> None:
    import json

    record = json.loads(json.dumps(explanation().as_record(), allow_nan=False))
    assert record["regions"] == [{"top": 2, "left": 30, "height": 4, "width": 6}]
    assert record["replaced"]["p_value"] == 0.41


def test_the_picture_shows_frame_and_colour_where_the_reason_is() -> None:
    gray = np.full((80, 80), 120, np.uint8)
    picture = explained_picture(explanation(), gray, Preprocessing("gray", 40, 40))
    assert picture.shape == (240, 240, 3)
    frame = (picture == (255, 214, 10)).all(axis=2)
    rows, columns = np.nonzero(frame)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 35, 180, 215)
    assert np.abs(picture[20:30, 190:205].astype(int) - 120).max() > 60
    faint = explained_picture(explanation(is_anomaly=False), gray, Preprocessing("gray", 40, 40))
    assert np.abs(faint[20:30, 190:205].astype(int) - 120).max() < 60
    assert (picture[100:, :100] == 120).all()


def test_what_lies_outside_a_kept_aspect_is_left_out() -> None:
    wide = np.full((10, 40), 120, np.uint8)
    spec = Preprocessing("gray", 40, 40, "keep")
    picture = explained_picture(explanation(), wide, spec)
    assert picture.shape == (60, 240, 3)
    assert not (picture == (255, 214, 10)).all(axis=2).any()
