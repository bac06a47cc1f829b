"""`amiss data`: the known sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amiss.data import known_sets

Run = Callable[..., Any]


def test_list_as_json(run: Run) -> None:
    found = run("data", "list", "--json").well().json
    assert [known["name"] for known in found] == list(known_sets())
    for known in found:
        assert {"name", "title", "source", "licence", "splits", "classes", "found"} == set(known)
        assert isinstance(known["found"], bool)


def test_list_for_people_shows_specifications_as_they_are(run: Run) -> None:
    text = run("data", "list").well().out
    for name in known_sets():
        assert name in text
    assert "fashion-mnist:train:normal=3" in text


def test_nothing_found_is_said(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMISS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {known["name"]: known["found"] for known in run("data", "list", "--json").well().json}
    assert found["magnetic-tile"] is False


def test_unknown_set_is_bad_usage(run: Run) -> None:
    run("data", "get", "nonsense").failed(2, "nonsense", "mnist")


def test_a_set_that_cannot_be_fetched_says_where_to_put_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AMISS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run("data", "get", "magnetic-tile").failed(1, "magnetic-tile", "MT_Free")
