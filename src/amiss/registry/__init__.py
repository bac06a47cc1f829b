"""Which methods there are, from the files of `amiss.methods`, and fitted models from their files."""

from __future__ import annotations

import functools
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import detectors, lazy
from ..environment.plugins import check_name, class_of_file

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
    check_name(name, method_names(), "method")
    return class_of_file(f"{_METHODS}.{name}", detectors.Detector)
