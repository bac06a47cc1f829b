"""`amiss methods`: every registered method, with nothing but its own facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from amiss.registry import get_method, method_names
from amiss.settings import facts_of, settings_of

Run = Callable[..., Any]
KEYS = {"name", "title", "paper", "family", "needs", "good_for"}


def test_json_has_the_contracts_keys(run: Run) -> None:
    found = run("methods", "--json").well().json
    assert [set(method) for method in found] == [KEYS] * len(found)
    assert [method["name"] for method in found] == list(method_names())
    assert all(isinstance(value, str) and value for method in found for value in method.values())


def test_people_see_every_method(run: Run) -> None:
    text = run("methods").well().out
    for name in method_names():
        assert name in text


@pytest.mark.parametrize("name", method_names())
def test_one_method_shows_all_its_settings(name: str, run: Run) -> None:
    text = run("methods", name).well().out
    for setting, item in settings_of(get_method(name)).items():
        assert setting in text
        assert facts_of(item).kind.text(item.default).split(",")[0] in text


@pytest.mark.parametrize("name", method_names())
def test_one_method_as_json(name: str, run: Run) -> None:
    found = run("methods", name, "--json").well().json
    assert [method["name"] for method in found] == [name]


@pytest.mark.parametrize("name", ["adalc", "base", "settings", "../x"])
def test_unknown_method_is_bad_usage(name: str, run: Run) -> None:
    run("methods", name).failed(2, name)
