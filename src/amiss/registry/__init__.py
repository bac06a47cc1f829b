"""Which methods there are, from the files of `amiss.methods`, and fitted models from their files."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import detectors, lazy
from ..errors import UsageError

if TYPE_CHECKING:  # for type checkers alone
    from ..detectors import Detector
    from .loading import load as load

#: Where the methods are; none of them is known by name.
_METHODS = "amiss.methods"
_FOLDER = Path(__file__).parent.parent / "methods"

__getattr__, __dir__ = lazy.attach(__name__, {"load": "loading"})


@functools.cache
def method_names() -> tuple[str, ...]:
    """Registry names of all methods, from the files of their folder; imports none of them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules([str(_FOLDER)])))


def get_method(name: str) -> type[Detector[Any]]:
    """The detector class of a registry name.

    Raises:
        UsageError: there is no such method.

    >>> get_method("adacl").__name__
    'ADACL'
    """
    if name not in method_names():
        close = difflib.get_close_matches(name, method_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(method_names())}"
        raise UsageError(f"there is no method {name!r}; {hint}")
    module = importlib.import_module(f"{_METHODS}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, detectors.Detector) and value.__module__ == module.__name__
    )
    return found
