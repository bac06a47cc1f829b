"""Classes that are found by their files: one class a file, and the file's name is the class's registry name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError


def check_name(name: str, names: Sequence[str], what: str) -> None:
    """Raises `UsageError` for a `name` that is none of the `names`; `what` is what they name."""
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}"
        raise UsageError(f"there is no {what} {name!r}; {hint}")


def class_of_file(module_name: str, base: type) -> type[Any]:
    """The one class derived from `base` that the file of a module defines."""
    module = importlib.import_module(module_name)
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module_name
    )
    return found
