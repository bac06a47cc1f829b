"""What only the memory of motion promises."""

from __future__ import annotations

import numpy as np
import pytest

import amiss
from amiss.errors import DataError, UsageError
from amiss.testing.videos import crossing

SIZE = (32, 64)


@pytest.fixture(scope="module")
def detector() -> amiss.MotionMemory:
    return amiss.MotionMemory(size="native").fit(np.concatenate([crossing(1, 80, SIZE, seed) for seed in range(4)]))


def test_a_frame_in_which_nothing_moves_has_the_lowest_score(detector: amiss.MotionMemory) -> None:
    still = np.repeat(crossing(1, 1, SIZE), 6, axis=0)
    assert (detector.score(still).scores == 0).all()
    assert not detector.anomaly_map(still).any()


def test_what_moves_too_fast_is_found_and_the_map_says_where(detector: amiss.MotionMemory) -> None:
    normal, fast = crossing(1, 30, SIZE, seed=9), crossing(4, 30, SIZE, seed=9)
    assert np.median(detector.score(fast).scores) > 1.5 * np.median(detector.score(normal).scores)
    where = detector.anomaly_map(fast)[10]
    row = np.unravel_index(where.argmax(), where.shape)[0]
    assert SIZE[0] // 4 - 8 <= row <= SIZE[0] // 2 + 8, "the block crosses there"


def test_the_bank_keeps_no_more_than_asked() -> None:
    frames = np.concatenate([crossing(1, 80, SIZE, seed) for seed in range(4)])
    detector = amiss.MotionMemory(size="native", kept=50).fit(frames)
    assert len(detector.torch_scorer().memory.get_buffer("kept")) == 50
    assert detector.training_["stages"][0]["figures"][0]["kept"] == 50


def test_video_without_motion_is_refused() -> None:
    noise = np.random.default_rng(0).integers(100, 102, (120, *SIZE), dtype=np.uint8)
    with pytest.raises(DataError, match="nothing moves"):
        amiss.MotionMemory(size="native").fit(noise)


def test_an_even_window_is_refused() -> None:
    with pytest.raises(UsageError, match="window must be odd"):
        amiss.MotionMemory(window=4).fit(crossing(1, 80, SIZE))
