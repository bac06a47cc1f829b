"""How long work tells the caller where it stands, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

#: Called as progress(task, done, total, detail): `read`, 12, 300, "".
Progress = Callable[[str, int, int, str], None]


def silent(task: str, done: int, total: int, detail: str) -> None:
    """Tell nobody."""
