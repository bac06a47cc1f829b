"""Caltech-256: 256 categories of objects and one of clutter, 30,607 pictures from the web."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amiss.data.collection import Collection
from amiss.data.folder import class_folders
from amiss.data.known.base import KnownSet
from amiss.errors import UsageError


class Caltech256(KnownSet):
    """Griffin, Holub and Perona, Caltech-256 object category dataset, 2007.

    Its kinds are the folders, and no image has a label before a key or a protocol gives it: see
    `amiss.data.protocols.inlier_categories`.
    """

    title = "Caltech-256"
    source = "https://data.caltech.edu/records/nyy15-4j048"
    licence = "CC BY 4.0; Griffin, Holub and Perona"
    splits = ("all",)
    classes = ("001.ak47", "the other 255 categories", "257.clutter")
    folders = ("caltech-256", "256_ObjectCategories", "caltech-256/256_ObjectCategories")
    files = ("257.clutter",)

    def read(self, location: Path, split: str) -> Collection:
        return replace(class_folders(location), title=f"{self.name}:{split}")

    def class_named(self, text: str) -> str:
        """The folder of this name, or of its number or word alone."""
        location = self.locate()
        names = [] if location is None else sorted(path.name for path in location.iterdir() if path.is_dir())
        for name in names:
            if text.casefold() in (name.casefold(), *name.casefold().split(".", 1)):
                return name
        raise UsageError(f"{self.name} has no class {text!r}; give the name of one of its folders, such as 257.clutter")
