"""Measuring scores and decisions against labels."""

from __future__ import annotations

from .bootstrap import Interval, bootstrap, wilson
from .localisation import localisation
from .ranking import Ranking, confusion_metrics
from .summary import evaluate, false_alarms
from .video import evaluate_videos

__all__ = [
    "Interval",
    "Ranking",
    "bootstrap",
    "confusion_metrics",
    "evaluate",
    "evaluate_videos",
    "false_alarms",
    "localisation",
    "wilson",
]
