"""Why a score is what it is: explainers, found by their files, and what they share."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from .. import lazy
from ..errors import UsageError
from . import explainers

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import images as images
    from . import measure as measure
    from . import relevance as relevance
    from .explainer import Explainer


@functools.cache
def explainer_names() -> tuple[str, ...]:
    """Registry names of all explainers, from the files of their folder; imports none of them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(explainers.__path__)))


def get_explainer(name: str) -> type[Explainer]:
    """The explainer class of a registry name.

    Raises:
        UsageError: there is no such explainer.

    >>> get_explainer("lrp").__name__
    'LRP'
    """
    if name not in explainer_names():
        close = difflib.get_close_matches(name, explainer_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(explainer_names())}"
        raise UsageError(f"there is no explainer {name!r}; {hint}")
    explainer = importlib.import_module(f"{__name__}.explainer")
    module = importlib.import_module(f"{explainers.__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, explainer.Explainer) and value.__module__ == module.__name__
    )
    return found
