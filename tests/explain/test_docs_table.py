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
    section = PAGE.partition("## Which suits")[2].partition("\n## ")[0]
    (row,) = (line for line in section.splitlines() if line.startswith("|") and f"`{method}`" in line)
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
