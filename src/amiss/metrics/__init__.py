"""Measuring scores and decisions against labels."""

from __future__ import annotations

from .bootstrap import Interval, bootstrap, wilson
from .evaluation import evaluate
from .ranking import Ranking, confusion_metrics

__all__ = ["Interval", "Ranking", "bootstrap", "confusion_metrics", "evaluate", "wilson"]
