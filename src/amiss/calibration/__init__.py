"""From scores to decisions that hold a promised false-alarm rate."""

from __future__ import annotations

from .conformal import Decision, p_values

__all__ = ["Decision", "p_values"]
