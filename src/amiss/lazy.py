"""What loads when it is first used: torch, rich, and the files of packages (PEP 562).

A file imports the packages at its top and uses their attributes inside functions. So reading the methods' files, for
`amiss methods` or to score with the core install, loads no torch, and `amiss --help` loads next to nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any


def attach(
    package: str, names: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package: its files, found in its folder, and names that these define.

    Args:
        package: its `__name__`.
        names: a name of the package to the file that defines it.
    """
    homes = dict(names or {})

    def files() -> list[str]:
        return [found.name for found in pkgutil.iter_modules(sys.modules[package].__path__)]

    def load(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if not name.startswith("__") and name in files():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, lambda: sorted([*homes, *files()])


class Late(ModuleType):
    """A module that is imported when one of its attributes is asked for.

    Args:
        name: of the module.
        parts: files of it that do not load with it, and are attributes all the same.
    """

    def __init__(self, name: str, parts: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what tools ask of any module is no reason to load this one
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name in self._parts:
            return importlib.import_module(f"{self.__name__}.{name}")
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import filelock as filelock
    import rich as rich
    import rich.console
    import rich.markup
    import rich.padding
    import rich.progress
    import rich.table
    import torch as torch
else:
    filelock = Late("filelock")
    rich = Late("rich", ("console", "markup", "padding", "progress", "table"))
    torch = Late("torch")
