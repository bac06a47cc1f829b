"""KolektorSDD: surfaces of electrical commutators, eight pictures an item, each with a mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

from amiss.data.collection import Collection
from amiss.data.folder import folder_collection
from amiss.data.known.base import KnownSet
from amiss.errors import DataError


class KolektorSDD(KnownSet):
    """Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, 2019.

    The authors' three folds keep the pictures of an item together, and so do these splits: of every three items, in
    the order of their numbers, two train and one tests. The part that trains has anomalies, too; a fit on it takes the
    others.
    """

    title = "Kolektor surface defects"
    source = "https://www.vicos.si/resources/kolektorsdd/"
    licence = "CC BY-NC-SA 4.0; Kolektor Group"
    classes = ("good", "defect")
    folders = ("kolektor-sdd", "KolektorSDD", "kolektorsdd")
    files = ("kos01",)

    def read(self, location: Path, split: str) -> Collection:
        items = []
        for item in folder_collection(location, "eval"):
            group = PurePath(item.name).parent.name
            if not (group.startswith("kos") and group[3:].isdecimal()):
                raise DataError(f"{item.name} is in no folder kos01, kos02, ...; unpack {self.source} again")
            if (int(group[3:]) % 3 == 0) == (split == "test"):
                items.append(replace(item, group=group, kind="defect" if item.anomalous else item.kind))
        return Collection(items, f"{self.name}:{split}")
