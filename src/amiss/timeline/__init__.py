"""Scores over time: smoothing, the papers' regularity, and events with a start and an end."""

from amiss.timeline.events import Event, Events, find_events
from amiss.timeline.smoothing import causal_mean, regularity, savitzky_golay

__all__ = ["Event", "Events", "causal_mean", "find_events", "regularity", "savitzky_golay"]
