"""Magnetic tile defects: 1,344 gray images of magnet tiles of many sizes, with pixel masks of five kinds of defects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle
from pathlib import Path

from amiss.data.collection import Collection, Item
from amiss.data.decode import read_image
from amiss.data.folder import natural_key
from amiss.data.known.base import KnownSet
from amiss.data.labels import NORMAL_KIND, GroupRow, read_groups
from amiss.errors import DataError

_FOLDER_OF = {kind: f"MT_{kind.capitalize()}" for kind in ("free", "blowhole", "break", "crack", "fray", "uneven")}
_GAP = 150  # the exposures of one tile have numbers no further apart
_MASK_NOTE = "4 masks of uneven tiles in magnetic-tile are empty"


class MagneticTile(KnownSet):
    """Huang et al., Surface defect saliency of magnetic tile, 2018; free to use with citation.

    Each tile was taken at several exposures: `exp<exposure>_num_<n>`. Its images have one `Item.group` and are never
    divided. Splits and groups come from a `groups.csv` beside the folders. Without it, images whose n lie within 150
    of the next, across kinds, are one group, and groups are dealt in the order of n: those of normal images alone
    5 : 2 : 3 to train, dev and test; those with a defect 2 : 3 to dev and test.
    """

    title = "Magnetic tile defects"
    source = "https://github.com/abin24/Magnetic-tile-defect-datasets."
    licence = "free to use with citation; Yibin Huang et al."
    splits = ("train", "dev", "test")
    classes = (NORMAL_KIND, *(kind for kind in _FOLDER_OF if kind != "free"))
    folders = ("magnetic-tile", "Magnetic-tile-defect-datasets.")
    files = tuple(_FOLDER_OF.values())

    def read(self, location: Path, split: str) -> Collection:
        kinds = {
            f"{folder}/Imgs/{path.name}": kind
            for kind, folder in _FOLDER_OF.items()
            for path in (location / folder / "Imgs").glob("*.jpg")
        }
        if not kinds:
            raise DataError(f"{location} holds no images MT_KIND/Imgs/*.jpg; fetch {self.source} again")
        table = location / "groups.csv"
        notes = [_MASK_NOTE]
        if table.is_file():
            rows: Mapping[str, GroupRow] = read_groups(table)
        else:
            rows = _derived_rows(kinds, location)
            notes.append("the split of magnetic-tile was derived from its file names: there is no groups.csv")
        items = []
        for file in sorted(kinds, key=natural_key):
            row = rows.get(file)
            if row is None or row.group is None or row.part not in self.splits:
                raise DataError(f"{table} gives {file} no group and part ({', '.join(self.splits)}); mend or remove it")
            if row.part == split:
                items.append(_item(location, file, kinds[file], row.group))
        return Collection(items, f"{self.name}:{split}", tuple(notes))


def _item(location: Path, file: str, kind: str, group: str) -> Item:
    path = location / file
    normal = kind == "free"
    return Item(
        path.as_posix(),
        partial(read_image, path.as_posix()),
        kind=NORMAL_KIND if normal else kind,
        anomalous=not normal,
        group=group,
        mask=None if normal else path.with_suffix(".png"),
    )


def _derived_rows(kinds: Mapping[str, str], location: Path) -> dict[str, GroupRow]:
    """Group and part of each file, from the numbers in the names; see `MagneticTile`."""
    free = cycle(("train", "test", "train", "dev", "train", "test", "train", "dev", "train", "test"))
    defective = cycle(("test", "dev", "test", "dev", "test"))
    rows = {}
    for index, files in enumerate(_tiles(kinds, location)):
        part = next(free if all(kinds[file] == "free" for file in files) else defective)
        rows.update({file: GroupRow(kinds[file], str(index), part) for file in files})
    return rows


def _tiles(files: Mapping[str, str], location: Path) -> Iterator[list[str]]:
    numbers = {}
    for file in files:
        match = re.fullmatch(r".*/exp[0-9]+_num_([0-9]+)\.jpg", file)
        if match is None:
            raise DataError(f"{location / file} is not named exp<exposure>_num_<n>.jpg; give it its official name")
        numbers[file] = int(match[1])
    tile: list[str] = []
    for file in sorted(numbers, key=lambda file: (numbers[file], file)):
        if tile and numbers[file] - numbers[tile[-1]] > _GAP:
            yield tile
            tile = []
        tile.append(file)
    if tile:
        yield tile
