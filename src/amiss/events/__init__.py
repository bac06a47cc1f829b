"""Scores over time: smoothing, the papers' regularity, and events with a start and an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Event": "events",
        "Events": "events",
        "causal_mean": "smoothing",
        "find_events": "events",
        "regularity": "smoothing",
        "savitzky_golay": "smoothing",
    },
)

if TYPE_CHECKING:  # for type checkers alone
    from .events import Event as Event
    from .events import Events as Events
    from .events import find_events as find_events
    from .smoothing import causal_mean as causal_mean
    from .smoothing import regularity as regularity
    from .smoothing import savitzky_golay as savitzky_golay
