"""The page that lies beside an exported model: what it takes and gives, and code that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined


def page(facts: Mapping[str, Any]) -> str:
    """The page as Markdown, from the names that its template `page.md.j2` holds."""
    source = resources.files(__package__).joinpath("page.md.j2").read_text(encoding="utf-8")
    # Markdown, of which a browser shows the source: nothing is escaped
    template = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return template.from_string(source).render(facts)
