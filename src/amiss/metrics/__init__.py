"""Measuring scores and decisions against labels."""

from __future__ import annotations

from .bootstrap import Interval, bootstrap, wilson
from .evaluation import evaluate
from .localisation import localisation
from .ranking import Ranking, confusion_metrics
from .video import evaluate_videos

__all__ = [
    "Interval",
    "Ranking",
    "bootstrap",
    "confusion_metrics",
    "evaluate",
    "evaluate_videos",
    "localisation",
    "wilson",
]
