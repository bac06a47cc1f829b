"""Settings of detectors: declared once on the class, checked everywhere, shown by the command line."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from ..errors import UsageError


def setting(
    default: Any,
    explanation: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    name: str | None = None,
) -> Any:
    """A constructor argument with its default, what it means, and what it may be (bounds included).

    `name` is what users call it where the attribute has to be called otherwise: the setting `score` beside the method
    `score`.
    """
    facts = {"help": explanation, "choices": choices, "low": low, "high": high, "name": name}
    return dataclasses.field(default=default, metadata=facts)


def preset(base: type, name: str, default: Any) -> Any:
    """The setting `name` of `base` with another default: what a named method is made of."""
    return dataclasses.field(default=default, metadata=settings_of(base)[name].metadata)


def settings_of(method: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a method by the names users give them."""
    return {item.metadata["name"] or item.name: item for item in dataclasses.fields(method)}


class Settable(type):
    """Metaclass of detectors: constructors take settings by the names users give them."""

    def __call__(cls, **given: Any) -> Any:
        known = settings_of(cls)
        return super().__call__(**{known[name].name if name in known else name: value for name, value in given.items()})


def check_settings(method: type, settings: dict[str, Any]) -> None:
    """Raises `UsageError` for a setting that `method` does not have, or a value it cannot take."""
    known = settings_of(method)
    for name, value in settings.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(sorted(known))}"
            raise UsageError(f"{method.__name__} has no setting {name!r}; {hint}")
        _check_value(name, known[name], value)


def _check_value(name: str, item: dataclasses.Field[Any], value: Any) -> None:
    kind, facts = type(item.default), item.metadata
    numeric = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if not (isinstance(value, kind) or numeric) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{name} must be {_article(kind)}, but is {value!r} ({type(value).__name__})")
    if facts["choices"] and value not in facts["choices"]:
        raise UsageError(f"{name} must be one of {', '.join(facts['choices'])}, but is {value!r}")
    low, high = facts["low"], facts["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise UsageError(f"{name} must be {bounds}, but is {value}")


def parse_settings(method: type, pairs: list[str]) -> dict[str, Any]:
    """`key=value` texts of the command line to typed settings.

    Raises:
        UsageError: no `=`, an unknown key, or a value of the wrong type.
    """
    known = settings_of(method)
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair} is not understood; write --set key=value")
        parsed[name] = _parse(name, known[name], text) if name in known else text
    check_settings(method, parsed)
    return parsed


def _parse(name: str, item: dataclasses.Field[Any], text: str) -> Any:
    kind: Any = type(item.default)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} must be true or false, but is {text!r}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{name} must be {_article(kind)}, but is {text!r}") from None


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}.get(kind, kind.__name__)


def whole_numbers(name: str, text: str, least: int) -> tuple[int, ...]:
    """The whole numbers of a setting such as `filters`, `32,64`.

    Raises:
        UsageError: anything else, a number under 1, or fewer than `least` of them.

    >>> whole_numbers("filters", "32,64", least=2)
    (32, 64)
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) < least or min(numbers) < 1:
        raise UsageError(
            f"{name} must be whole numbers of 1 or more with commas, {least} of them at least, but is {text!r}"
        )
    return numbers
