"""From scores to decisions that hold a promised false-alarm rate, and from maps to what is shown of them."""

from __future__ import annotations

from .conformal import Decision, largest_of_groups, p_values
from .maps import MapScale, smoothed

__all__ = ["Decision", "MapScale", "largest_of_groups", "p_values", "smoothed"]
