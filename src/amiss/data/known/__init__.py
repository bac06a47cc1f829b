"""Data sets known by name: one file each in this folder, found by its name (`fashion_mnist.py` is `fashion-mnist`).

A new set is a new file with one subclass of `KnownSet`; no list is edited.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np

from amiss.data.collection import Collection, Item
from amiss.data.known.base import KnownSet
from amiss.errors import UsageError

__all__ = ["KnownSet", "known_sets", "open_known"]

_KEYS = ("normal", "anomalous", "kinds", "limit")


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """All known data sets by name, whether they are on disk or not."""
    found: dict[str, KnownSet] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name == "base":
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, KnownSet) and value.__module__ == module.__name__:
                known = value()
                found[known.name] = known
    return MappingProxyType(dict(sorted(found.items())))


def open_known(spec: str) -> Collection:
    """Open `NAME:SPLIT[:key=value]...`, for example `fashion-mnist:train:normal=3` or `magnetic-tile:test:kinds=crack`.

    Keys, of which the first three take several classes with commas, by name in any case or by index:

    - `normal=X`: the classes X are normal, all others anomalous.
    - `anomalous=X`: the classes X are anomalous, all others normal; with `normal=` too, the rest is left out.
    - `kinds=X`: keep the normal images and, of the others, only those of the classes X.
    - `limit=N`: keep N images, spread evenly over what the other keys leave (all, where there are fewer).

    Raises:
        UsageError: an unknown name, split, key or class; the message lists what exists.
        MissingDataError: the set is not on disk; the message says where to put it.
        DataError: its files are broken.
    """
    name, _, rest = spec.partition(":")
    split, *settings = rest.split(":")
    known = known_sets().get(name)
    if known is None:
        near = difflib.get_close_matches(name, known_sets(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no known set {name!r}; choose one of {', '.join(known_sets())}{hint}")
    options = _options(settings, spec)
    chosen = {key: _classes(known, options[key]) for key in ("normal", "anomalous", "kinds") if key in options}
    limit = _limit(options["limit"], spec) if "limit" in options else None
    collection = known.load(split)
    if "normal" in chosen or "anomalous" in chosen:
        collection = _relabel(collection, chosen.get("normal"), chosen.get("anomalous"), spec)
    if "kinds" in chosen:
        kinds = chosen["kinds"]
        collection = collection.where(lambda item: item.anomalous is False or item.kind in kinds)
    if limit is not None and limit < len(collection):
        kept = np.linspace(0, len(collection) - 1, limit).round().astype(int)
        collection = replace(collection, items=[collection[i] for i in kept.tolist()])
    if not collection:
        raise UsageError(f"{spec} leaves no image; loosen its keys")
    return replace(collection, title=":".join((collection.title, *settings)))


def _options(settings: Sequence[str], spec: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in _KEYS:
            raise UsageError(f"{spec}: there is no key {key!r}; choose from {', '.join(_KEYS)}")
        if key in options:
            raise UsageError(f"{spec}: the key {key} is given twice; give it once, its values with commas")
        if not value:
            raise UsageError(f"{spec}: the key {key} has no value; write {key}=VALUE")
        options[key] = value
    return options


def _classes(known: KnownSet, value: str) -> frozenset[str]:
    return frozenset(known.class_named(text.strip()) for text in value.split(","))


def _limit(value: str, spec: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value[:18]) >= 1):
        raise UsageError(f"{spec}: limit is {value!r}; give a whole number from 1")
    return int(value[:18])


def _relabel(
    collection: Collection, normal: frozenset[str] | None, anomalous: frozenset[str] | None, spec: str
) -> Collection:
    if normal is not None and anomalous is not None and normal & anomalous:
        both = ", ".join(sorted(normal & anomalous))
        raise UsageError(f"{spec}: {both} cannot be both normal and anomalous; name it once")

    def label(item: Item) -> bool | None:
        if normal is not None and item.kind in normal:
            return False
        if anomalous is not None and item.kind in anomalous:
            return True
        return None if normal is not None and anomalous is not None else normal is not None

    labelled = [replace(item, anomalous=label(item)) for item in collection]
    return replace(collection, items=[item for item in labelled if item.anomalous is not None])
