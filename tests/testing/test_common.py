"""The common checks over every registered detector; no list to edit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amiss.detectors.detector import Detector
from amiss.registry import get_method, method_names
from amiss.testing import checks


@pytest.mark.slow
@pytest.mark.parametrize("name", method_names())
@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_common_check(name: str, check: Callable[[type[Detector]], None]) -> None:
    check(get_method(name))


@pytest.mark.parametrize("name", method_names())
def test_class_is_named_as_its_file(name: str) -> None:
    assert get_method(name).__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("name", method_names())
def test_excused_checks_exist_and_give_a_reason(name: str) -> None:
    known = {check.__name__ for check in checks()}
    for check, reason in get_method(name).excused_checks.items():
        assert check in known
        assert len(reason) > 10
