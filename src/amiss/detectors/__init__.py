"""The methods: one file each. The registry name is the file's name; nothing else needs editing to add one."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .base import Detector

#: What methods share.
_NOT_METHODS = ("base", "discard", "labelled", "method", "reconstructor", "settings")


@functools.cache
def method_names() -> tuple[str, ...]:
    """Registry names of all methods, from the files of this folder; imports none of them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name not in _NOT_METHODS))


def get_method(name: str) -> type[Detector]:
    """The detector class of a registry name.

    Raises:
        UsageError: there is no such method.

    >>> get_method("adacl").__name__
    'ADACL'
    """
    from .base import Detector

    if name not in method_names():
        close = difflib.get_close_matches(name, method_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(method_names())}"
        raise UsageError(f"there is no method {name!r}; {hint}")
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == module.__name__
    )
    return found


def method_name(detector: Detector | type[Detector]) -> str:
    """The registry name of a detector or its class."""
    kind = detector if isinstance(detector, type) else type(detector)
    return kind.__module__.rpartition(".")[2]
