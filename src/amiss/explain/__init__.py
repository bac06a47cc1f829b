"""Why a score is what it is: explainers, found by their files, and what they share."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from .. import lazy
from ..environment.plugins import check_name, class_of_file
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
    check_name(name, explainer_names(), "explainer")
    explainer = importlib.import_module(f"{__name__}.explainer")
    return class_of_file(f"{explainers.__name__}.{name}", explainer.Explainer)
