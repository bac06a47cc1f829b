"""The names of objectives; without torch, so that settings can list them."""

from __future__ import annotations

#: Forms of the negative term, made by `negative`.
NEGATIVES = ("plain", "weighted", "repeated", "bounded")
