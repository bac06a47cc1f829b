"""Events in scores over time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.events import Events, causal_mean, find_events

numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=80)


@given(numbers, st.integers(1, 5), st.integers(0, 5), st.integers(1, 4))
def test_events_are_apart_long_enough_and_exceed_the_threshold(
    values: list[float], fewest: int, gap: int, window: int
) -> None:
    found = find_events(values, Events(20, 5, fewest, gap, window))
    smooth = causal_mean(values, window)
    for event in found:
        assert event.end - event.start + 1 >= fewest
        assert smooth[event.start] > 20 - 1e-9
        assert smooth[event.end] > 5 - 1e-9
        assert event.score == pytest.approx(smooth[event.start : event.end + 1].max())
    for one, other in itertools.pairwise(found):
        assert other.start - one.end > gap


def test_an_event_that_goes_on_is_told() -> None:
    events = Events(1, 0.5, fewest=2, gap=3, window=1)
    events.push(2)
    assert events.current is None, "one frame is too short"
    events.push(2)
    assert events.current is not None
    assert events.finish() is not None
    assert events.finish() is None
