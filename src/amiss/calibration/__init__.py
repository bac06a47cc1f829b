"""From scores to decisions that hold a promised false-alarm rate, and from maps to regions and what is shown."""

from __future__ import annotations

from .conformal import Decision, largest_of_groups, p_values
from .drift import DriftTest
from .maps import MapScale, smoothed
from .regions import Region, find_regions

__all__ = ["Decision", "DriftTest", "MapScale", "Region", "find_regions", "largest_of_groups", "p_values", "smoothed"]
