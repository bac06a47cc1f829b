"""What a report shows of videos: the score over time, events, and the frames at their peaks."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.clips import video_of
from ..events import Event, Events
from .charts import tick_labels, ticks

if TYPE_CHECKING:
    from ..calibration import Decision
    from ..model import Row

#: Videos whose timeline is shown, points of a line, and frames at peaks in all.
_SHOWN, _POINTS, _PEAKS = 24, 600, 12
#: Height of a timeline in pixels, and of the line of labels below it.
_HEIGHT, _LABELS = 120, 8


@dataclass(eq=False)
class Timeline:
    """One video.

    Attributes:
        name: of the video.
        scores: smoothed score of each frame.
        labels: 1 anomalous, 0 normal, -1 unknown, of each frame.
        events: what was found.
        peaks: of each event the row of its highest score.
        rate: frames a second, where known.
    """

    name: str
    scores: array[float] = field(default_factory=lambda: array("f"))
    labels: array[int] = field(default_factory=lambda: array("b"))
    events: list[Event] = field(default_factory=list)
    peaks: list[Row] = field(default_factory=list)
    rate: float | None = None


class Timelines:
    """Collects rows of videos as they come; a few bytes a frame."""

    def __init__(self, decision: Decision) -> None:
        self._thresholds = decision.event_thresholds()
        #: What the score of a frame must exceed to begin an event.
        self.threshold = self._thresholds[0]
        self.videos: list[Timeline] = []
        self._events: Events | None = None
        self._peak: Row | None = None
        self._first_time: float | None = None

    def add(self, row: Row) -> None:
        """Take in the next row of a frame."""
        name = video_of(row.item)
        if not self.videos or self.videos[-1].name != name:
            self.finish()
            self.videos.append(Timeline(name))
            self._events, self._peak, self._first_time = Events(*self._thresholds), None, row.item.time
        video, events = self.videos[-1], self._events
        assert events is not None
        ended = events.push(row.score)
        if ended is not None:
            self._end(ended)
        if events.open and (self._peak is None or row.score > self._peak.score):
            self._peak = row
        elif not events.open:
            self._peak = None
        video.scores.append(events.smoothed)
        video.labels.append(-1 if row.item.anomalous is None else int(row.item.anomalous))
        if row.item.time is not None and self._first_time is not None and row.item.time > self._first_time:
            video.rate = (len(video.scores) - 1) / (row.item.time - self._first_time)

    def finish(self) -> None:
        """The last video is over."""
        if self._events is not None:
            last = self._events.finish()
            if last is not None:
                self._end(last)
        self._events = None

    def peaks(self) -> list[Row]:
        """The rows at the highest peaks, highest first."""
        rows = [row for video in self.videos for row in video.peaks]
        return sorted(rows, key=lambda row: -row.score)[:_PEAKS]

    def _end(self, event: Event) -> None:
        self.videos[-1].events.append(event)
        if self._peak is not None:
            self.videos[-1].peaks.append(self._peak)
        self._peak = None


def timeline_views(timelines: Timelines) -> dict[str, Any] | None:
    """What the page's template draws; None without videos."""
    if not timelines.videos:
        return None
    high = timelines.threshold
    shown = timelines.videos
    if len(shown) > _SHOWN:  # those with events, and of these the ones with the highest
        ranked = sorted(shown, key=lambda video: -max((event.score for event in video.events), default=-np.inf))
        kept = {id(video) for video in ranked[:_SHOWN]}
        shown = [video for video in shown if id(video) in kept]
    everything = np.concatenate([np.asarray(video.scores) for video in timelines.videos])
    low, top = float(np.quantile(everything, 0.001)), float(everything.max())
    if np.isfinite(high):
        low, top = min(low, high), max(top, high)
    top = top if top > low else low + 1
    return {
        "videos": [_view(video, low, top, high) for video in shown],
        "left_out": len(timelines.videos) - len(shown),
        "height": _HEIGHT,
        "labels_height": _LABELS,
        "events": sum(len(video.events) for video in timelines.videos),
        "labelled": any(label >= 0 for video in shown for label in video.labels[:1]),
    }


def _view(video: Timeline, low: float, top: float, high: float) -> dict[str, Any]:
    scores = np.asarray(video.scores, dtype=np.float64)
    n = len(scores)
    each = max(1, -(-n // _POINTS))
    highest = [float(scores[begin : begin + each].max()) for begin in range(0, n, each)]

    def x(frame: float) -> str:
        return f"{1000 * frame / max(1, n - 1):.1f}"

    def y(score: float) -> float:
        return _HEIGHT * (1 - 0.94 * (min(max(score, low), top) - low) / (top - low)) - 2

    points = [(min(number * each, n - 1), score) for number, score in enumerate(highest)]
    seconds = (n - 1) / video.rate if video.rate else None
    marks = ticks(0, seconds if seconds else n - 1, 6)
    length = seconds if seconds else max(1, n - 1)
    names = [_clock(mark) for mark in marks] if seconds else tick_labels(marks)
    return {
        "name": video.name,
        "path": " ".join(f"{x(frame)},{y(score):.1f}" for frame, score in points),
        "threshold": f"{y(high):.1f}" if np.isfinite(high) else None,
        "events": [
            {
                "x": x(event.start),
                "width": f"{max(2.0, 1000 * (event.end - event.start) / max(1, n - 1)):.1f}",
                "told": f"{_place(event.start, video.rate)} to {_place(event.end, video.rate)}",
            }
            for event in video.events
        ],
        "labelled": [
            {"x": x(start), "width": f"{max(2.0, 1000 * (end - start) / max(1, n - 1)):.1f}"}
            for start, end in _stretches(np.asarray(video.labels) == 1)
        ],
        "ticks": [
            (f"{100 * mark / length:.2f}", name) for mark, name in zip(marks, names, strict=True) if mark <= length
        ],
        "unit": "minutes and seconds" if seconds else "frames",
        "frames": n,
    }


def _stretches(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.diff(np.concatenate([[0], where.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def _place(frame: int, rate: float | None) -> str:
    return _clock(frame / rate) if rate else f"frame {frame}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}" if rest % 1 else f"{int(minutes)}:{int(rest):02}"
