"""Explainers: one file each. The registry name is the file's name; nothing else needs editing to add one."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .base import Explainer

#: What explainers share.
_NOT_EXPLAINERS = ("base", "explanation", "filling", "images", "measure", "relevance", "superpixels")


@functools.cache
def explainer_names() -> tuple[str, ...]:
    """Registry names of all explainers, from the files of this folder; imports none of them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name not in _NOT_EXPLAINERS))


def get_explainer(name: str) -> type[Explainer]:
    """The explainer class of a registry name.

    Raises:
        UsageError: there is no such explainer.

    >>> get_explainer("lrp").__name__
    'LRP'
    """
    from .base import Explainer

    if name not in explainer_names():
        close = difflib.get_close_matches(name, explainer_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(explainer_names())}"
        raise UsageError(f"there is no explainer {name!r}; {hint}")
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Explainer) and value.__module__ == module.__name__
    )
    return found


def explainer_name(explainer: Explainer | type[Explainer]) -> str:
    """The registry name of an explainer or its class."""
    kind = explainer if isinstance(explainer, type) else type(explainer)
    return kind.__module__.rpartition(".")[2]
