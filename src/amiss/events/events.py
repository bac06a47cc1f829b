"""From frame scores to events: what lasts from where to where, found while the frames come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from .smoothing import CAUSAL_WINDOW


@dataclass(frozen=True)
class Event:
    """A stretch of frames that stands out.

    Attributes:
        start, end: its first and last frame, counted from 0.
        peak: the frame with the highest score.
        score: the score there.
    """

    start: int
    end: int
    peak: int
    score: float


class Events:
    """Finds events in frame scores as they come, by hysteresis; holds a few numbers, however long the video.

    An event begins with the first frame whose smoothed score exceeds `high`, goes on as long as it exceeds `low`, and
    bridges up to `gap` frames that do not. Events of fewer than `fewest` frames are dropped.

    Args:
        high, low: thresholds; low is at most high.
        fewest: frames of an event at least.
        gap: frames below `low` that an event bridges.
        window: frames over which the score is averaged, the last of them being the one in question.

    >>> events = Events(high=2, low=1, fewest=2, gap=1, window=1)
    >>> found = [events.push(score) for score in (0, 3, 1.5, 0, 3, 0, 0, 0)]
    >>> [event for event in found if event]
    [Event(start=1, end=4, peak=1, score=3.0)]
    """

    def __init__(self, high: float, low: float, fewest: int = 5, gap: int = 15, window: int = CAUSAL_WINDOW) -> None:
        self._high, self._low, self._fewest, self._gap = high, min(low, high), fewest, gap
        self._recent: deque[float] = deque(maxlen=window)
        self._frame = -1
        self._open: Event | None = None
        #: The smoothed score of the last frame.
        self.smoothed = 0.0

    def push(self, score: float) -> Event | None:
        """Tell the score of the next frame; returns the event that has just been found to be over, if any."""
        self._frame += 1
        self._recent.append(score)
        self.smoothed = value = sum(self._recent) / len(self._recent)
        if self._open is None:
            if value > self._high:
                self._open = Event(self._frame, self._frame, self._frame, value)
            return None
        if value > self._low:
            peak, most = (self._frame, value) if value > self._open.score else (self._open.peak, self._open.score)
            self._open = Event(self._open.start, self._frame, peak, most)
        elif self._frame - self._open.end > self._gap:
            return self._closed()
        return None

    @property
    def open(self) -> bool:
        """Does an event go on, be it long enough or not?"""
        return self._open is not None

    @property
    def current(self) -> Event | None:
        """The event that goes on, once it has lasted long enough."""
        return self._open if self._open is not None and self._long_enough(self._open) else None

    def finish(self) -> Event | None:
        """The video is over: the event that goes on, if any."""
        return self._closed()

    def _closed(self) -> Event | None:
        event, self._open = self._open, None
        return event if event is not None and self._long_enough(event) else None

    def _long_enough(self, event: Event) -> bool:
        return event.end - event.start + 1 >= self._fewest


def find_events(scores: Iterable[float], events: Events) -> list[Event]:
    """All events of one video, from a fresh `Events`."""
    found = [events.push(score) for score in scores]
    return [event for event in (*found, events.finish()) if event is not None]
