"""Scores over time: smoothing, the papers' regularity, and events with a start and an end."""

from amiss.timeline.events import Event, Events, event_thresholds, find_events
from amiss.timeline.smoothing import causal_mean, regularity, savitzky_golay

__all__ = ["Event", "Events", "causal_mean", "event_thresholds", "find_events", "regularity", "savitzky_golay"]
