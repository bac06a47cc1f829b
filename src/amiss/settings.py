"""Settings of detectors and explainers: declared once on the class, typed, checked, shown by the command line.

A setting is a bool, a number, a word, or one of the kinds below: words or numbers in a tuple, a word or nothing,
patches, a size. As text, on the command line and in model files, a tuple is written with commas and `None` as `none`; a
value given in this form in Python is taken as well.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from .errors import UsageError

#: How nothing is written.
_NOTHING = "none"


class Kind(Protocol):
    """What a setting may be."""

    def typed(self, name: str, value: Any) -> Any:
        """The value as it is kept, from how it is written or given in Python. Raises `UsageError`."""

    def text(self, value: Any) -> str:
        """How the value is written."""


_PLAIN: dict[type, str] = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def _as_whole(value: Any) -> int | None:
    """The whole number that a value is, numpy's among them; None for anything else."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if whole else None


def _as_wholes(values: Any) -> tuple[int, ...] | None:
    """The whole numbers of a sequence; None for anything else. A tuple of ints comes back as it is."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        return None
    found = [_as_whole(value) for value in values]
    if any(value is None for value in found):
        return None
    if isinstance(values, tuple) and all(type(value) is int for value in values):
        return values
    return tuple(value for value in found if value is not None)


@dataclass(frozen=True)
class Plain:
    """A bool, a whole number, a number or a word."""

    kind: type

    def __post_init__(self) -> None:
        if self.kind not in _PLAIN:
            raise TypeError(f"a setting that is {self.kind.__name__} needs its kind, such as WholeNumbers() or Words()")

    def typed(self, name: str, value: Any) -> Any:
        whole = _as_whole(value)
        if self.kind is int and whole is not None:
            return whole
        numeric = self.kind is float and whole is not None
        if not (isinstance(value, self.kind) or numeric) or (self.kind is int and isinstance(value, bool)):
            raise UsageError(f"{name} must be {self._words()}, but is {value!r} ({type(value).__name__})")
        return value

    def parsed(self, name: str, text: str) -> Any:
        """The value from its text. Raises `UsageError`."""
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise UsageError(f"{name} must be true or false, but is {text!r}")
            return text.lower() == "true"
        try:
            return self.kind(text)
        except ValueError:
            raise UsageError(f"{name} must be {self._words()}, but is {text!r}") from None

    def text(self, value: Any) -> str:
        return str(value)

    def _words(self) -> str:
        return _PLAIN[self.kind]


@dataclass(frozen=True)
class OptionalWord:
    """A word, or None."""

    def typed(self, name: str, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value == _NOTHING):
            return None
        if not isinstance(value, str):
            raise UsageError(f"{name} must be a word, or none, but is {value!r} ({type(value).__name__})")
        return value

    def text(self, value: str | None) -> str:
        return _NOTHING if value is None else value


@dataclass(frozen=True)
class Words:
    """A tuple of words.

    Attributes:
        known: what each may be; None where anything may stand.
        divider: between words, as text.
        least: how many there are at least.

    >>> Words().typed("vary", "flip, light"), Words().typed("vary", "none")
    (('flip', 'light'), ())
    """

    known: tuple[str, ...] | None = None
    divider: str = ","
    least: int = 0

    def typed(self, name: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            words = tuple(word.strip() for word in value.split(self.divider))
            value = tuple(word for word in words if word and word != _NOTHING)
        if not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
            raise UsageError(f"{name} must be words, but is {value!r} ({type(value).__name__})")
        unknown = [word for word in value if self.known is not None and word not in self.known]
        if unknown:
            raise UsageError(f"{name} knows no {unknown[0]!r}; there are: {', '.join(self.known or ())}")
        if len(value) < self.least:
            there = f"; there are: {', '.join(self.known)}" if self.known else ""
            raise UsageError(f"{name} must name {self.least} at least{there}")
        return value if isinstance(value, tuple) else tuple(value)

    def text(self, value: Sequence[str]) -> str:
        return self.divider.join(value) or _NOTHING


@dataclass(frozen=True)
class WholeNumbers:
    """A tuple of whole numbers of 1 or more; `least` is how many at least.

    >>> WholeNumbers(least=2).typed("filters", "32,64")
    (32, 64)
    """

    least: int = 1

    def typed(self, name: str, value: Any) -> tuple[int, ...]:
        given: Any = value
        if isinstance(value, str):
            try:
                given = tuple(int(part) for part in value.split(","))
            except ValueError:
                given = ()
        wholes = _as_wholes(given)
        if wholes is None or len(wholes) < self.least or not all(each >= 1 for each in wholes):
            raise UsageError(
                f"{name} must be whole numbers of 1 or more with commas, {self.least} of them at least, but is "
                f"{value!r}"
            )
        return wholes

    def text(self, value: Sequence[int]) -> str:
        return ",".join(map(str, value))


@dataclass(frozen=True)
class Patches:
    """Size and stride of square patches in pixels, or None; written SIZE or SIZE:STRIDE. Without a stride, they overlap
    by half.

    >>> Patches().typed("patch", "30:25"), Patches().typed("patch", "32"), Patches().typed("patch", 32)
    ((30, 25), (32, 16), (32, 16))
    """

    def typed(self, name: str, value: Any) -> tuple[int, int] | None:
        if value is None or (isinstance(value, str) and value == _NOTHING):
            return None
        match = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", value) if isinstance(value, str) else None
        given: Any = value
        if match is not None:
            given = int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))
        side = _as_whole(given)
        sides = _as_wholes(given) if side is None else (side, max(1, side // 2))
        if sides is None or len(sides) != 2 or sides[0] < 4 or not 1 <= sides[1] <= sides[0]:
            raise UsageError(
                f"{name} must be none, SIZE or SIZE:STRIDE in pixels, such as 30:25, with at least 4 pixels and a "
                f"stride up to the size, but is {value!r}"
            )
        return sides

    def text(self, value: tuple[int, int] | None) -> str:
        return _NOTHING if value is None else ":".join(map(str, value))


@dataclass(frozen=True)
class Size:
    """(height, width) in pixels, written HxW; or the word native or auto.

    >>> Size().typed("size", "64x128"), Size().text((64, 128))
    ((64, 128), '64x128')
    """

    def typed(self, name: str, value: Any) -> tuple[int, int] | str:
        if isinstance(value, str) and value in ("native", "auto"):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", value) if isinstance(value, str) else None
        sides: Any = value if match is None else (int(match[1]), int(match[2]))
        wholes = _as_wholes(sides)
        if wholes is None or len(wholes) != 2:
            raise UsageError(f"{name} {value!r} is not understood; write HxW such as 128x128, or native, or auto")
        if not all(8 <= side <= 4096 for side in wholes):
            written = "x".join(map(str, wholes))
            raise UsageError(f"{name} {written} is out of range; each side must be from 8 to 4096 pixels")
        return wholes

    def text(self, value: tuple[int, int] | str) -> str:
        return value if isinstance(value, str) else "x".join(map(str, value))


@dataclass(frozen=True)
class Facts:
    """What is known of a setting.

    Attributes:
        kind: what it may be.
        help: what it means.
        choices: the words that it may be, None among them where it may be nothing.
        low, high: bounds of a number, included.
        name: what users call it where the attribute has to be called otherwise.
        formerly: its name in earlier versions, which is still understood.
        renamed: words of earlier versions, and what they are called now.
        before: what files of earlier versions mean that do not name it; MISSING where that is the default.
    """

    kind: Kind
    help: str
    choices: tuple[str | None, ...] | None
    low: float | None
    high: float | None
    name: str | None
    formerly: str | None
    renamed: Mapping[str, str]
    before: Any = dataclasses.MISSING

    def checked(self, name: str, value: Any) -> Any:
        """The typed value. Raises `UsageError` for one that the setting cannot take."""
        value = self._present(self.kind.typed(name, value))
        if self.choices and value not in self.choices:
            known = ", ".join(self.kind.text(each) for each in self.choices)
            raise UsageError(f"{name} must be one of {known}, but is {value!r}")
        low, high = self.low, self.high
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise UsageError(f"{name} must be {bounds}, but is {value}")
        return value

    def parsed(self, name: str, text: str) -> Any:
        """The value from its text, typed. Raises `UsageError`."""
        return self.checked(name, self.kind.parsed(name, text) if isinstance(self.kind, Plain) else text)

    def kept(self, value: Any) -> Any:
        """What a constructor stores: tuples and the like in their typed form, what cannot be meant as it is, since
        constructors raise nothing; `check_settings` comes later."""
        if isinstance(self.kind, Plain):
            return self._present(value)
        try:
            return self.kind.typed("", value)
        except UsageError:
            return value

    def _present(self, value: Any) -> Any:
        return self.renamed.get(value, value) if isinstance(value, str) else value


def setting(
    default: Any,
    explanation: str,
    *,
    kind: Kind | None = None,
    choices: tuple[str | None, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    name: str | None = None,
    formerly: str | None = None,
    renamed: Mapping[str, str] = MappingProxyType({}),
    before: Any = dataclasses.MISSING,
) -> Any:
    """A constructor argument with its default, what it means, and what it may be (bounds included).

    Without `kind` it is what its default is: bool, int, float or str; with None among its `choices`, a word or None.
    `name` is what users call it where the attribute has to be called otherwise: the setting `score` beside the method
    `score`. `formerly` and `renamed` are names and words of earlier versions, which are still understood; `before` is
    what their files mean where they do not name it.
    """
    if kind is None:
        kind = OptionalWord() if choices is not None and None in choices else Plain(type(default))
    facts = Facts(kind, explanation, choices, low, high, name, formerly, renamed, before)
    return dataclasses.field(default=default, metadata={"facts": facts})


def preset(base: type, name: str, default: Any) -> Any:
    """The setting `name` of `base` with another default: what a named method is made of."""
    return dataclasses.field(default=default, metadata=settings_of(base)[name].metadata)


def facts_of(item: dataclasses.Field[Any]) -> Facts:
    """What is known of a setting that `settings_of` gives."""
    facts: Facts = item.metadata["facts"]
    return facts


def settings_of(method: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a method by the names users give them."""
    return {facts_of(item).name or item.name: item for item in dataclasses.fields(method)}


def _by_any_name(method: type) -> dict[str, dataclasses.Field[Any]]:
    """`settings_of`, with names of earlier versions."""
    known = settings_of(method)
    return {former: item for item in known.values() if (former := facts_of(item).formerly) is not None} | known


class Settable(type):
    """Metaclass of detectors and explainers: constructors take settings by the names users give them."""

    def __call__(cls, **given: Any) -> Any:
        known = _by_any_name(cls)
        stored = {known[name].name: facts_of(known[name]).kept(value) for name, value in given.items() if name in known}
        return super().__call__(**stored, **{name: value for name, value in given.items() if name not in known})


def values_of(settable: object) -> dict[str, Any]:
    """The settings of an object by the names users give them."""
    return {name: getattr(settable, item.name) for name, item in settings_of(type(settable)).items()}


def set_values(settable: object, settings: Mapping[str, Any]) -> None:
    """Change settings by name. Raises `UsageError` for an unknown one, or a value it cannot take."""
    for name, value in check_settings(type(settable), settings).items():
        setattr(settable, settings_of(type(settable))[name].name, value)


def settings_before(method: type) -> dict[str, Any]:
    """Of settings that earlier versions did not have, what their files mean, by name."""
    known = {name: facts_of(item).before for name, item in settings_of(method).items()}
    return {name: value for name, value in known.items() if value is not dataclasses.MISSING}


def check_settings(method: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, typed. Raises `UsageError` for one that `method` does not have, or a value it cannot take."""
    known = _by_any_name(method)
    unknown = next((name for name in settings if name not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(sorted(known))}"
        raise UsageError(f"{method.__name__} has no setting {unknown!r}; {hint}")
    return {
        facts_of(known[name]).name or known[name].name: facts_of(known[name]).checked(name, value)
        for name, value in settings.items()
    }


def parse_settings(method: type, pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts of the command line to typed settings.

    Raises:
        UsageError: no `=`, an unknown key, or a value of the wrong type.
    """
    known = _by_any_name(method)
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair} is not understood; write --set key=value")
        parsed[name] = facts_of(known[name]).parsed(name, text) if name in known else text
    return check_settings(method, parsed)


def as_text(method: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as model files hold them: what JSON has as it is, tuples and None as they are written.

    >>> from amiss.methods.bcae1 import BCAE1
    >>> as_text(BCAE1, {"filters": (32, 64), "gate": None, "epochs": 3})
    {'filters': '32,64', 'gate': 'none', 'epochs': 3}
    """
    known = settings_of(method)
    return {
        name: value if isinstance(facts_of(known[name]).kind, Plain) else facts_of(known[name]).kind.text(value)
        for name, value in settings.items()
    }


def narrowed(filters: Sequence[int]) -> tuple[int, ...]:
    """A quarter of the filters of each layer, from 8 to 32: for fits that show how a method behaves, not how well.

    >>> narrowed((64, 1024))
    (16, 32)
    """
    return tuple(min(32, max(8, width // 4)) for width in filters)
