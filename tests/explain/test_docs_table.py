"""The table of docs/explanations.md says the truth about every method."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amiss.explain import explainer_names
from amiss.explain.relevance import explained_network
from amiss.registry import get_method, method_names

PAGE = (Path(__file__).parents[2] / "docs" / "explanations.md").read_text(encoding="utf-8")


def columns(method: str) -> list[str]:
    """The row that names the method, or the one of its kind: a new method needs none of its own."""
    section = PAGE.partition("## Which suits")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    detector = get_method(method)()
    kind = "others with a map" if detector.has_map else "others without a map"
    kind = "methods of video" if detector.clip_length > 1 else kind
    row = next((line for line in lines if f"`{method}`" in line), None) or next(line for line in lines if kind in line)
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


@pytest.mark.parametrize("method", method_names())
def test_every_method(method: str) -> None:
    residual, forward, lrp = columns(method)
    detector = get_method(method)()
    assert residual.startswith("yes") == detector.has_map
    assert forward.startswith("yes")
    if detector.clip_length > 1 or method == "panel":  # a panel is built around what its members see
        assert lrp == "no"
        return
    try:
        explained_network(detector.build((1, 32, 32)))
        suits = True
    except NotImplementedError:
        suits = False
    assert lrp.startswith("yes") == suits


def test_every_explainer() -> None:
    section = PAGE.partition("## Explainers")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == set(explainer_names())
