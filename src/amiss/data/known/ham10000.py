"""HAM10000: dermatoscopic pictures of pigmented skin lesions of seven kinds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from amiss.data.collection import Collection, Item
from amiss.data.decode import read_image
from amiss.data.known.base import KnownSet
from amiss.data.labels import NORMAL_KIND, read_table
from amiss.errors import DataError

#: Of 6,705 pictures of nevi 6,600 train (RAVI 4.2.1).
_TRAINING_SHARE = 6600 / 6705


class HAM10000(KnownSet):
    """Tschandl, Rosendahl and Kittler, The HAM10000 dataset, 2018. Nevi (`nv`) are normal.

    The thesis draws the images that train at random; here whole lesions are drawn, always the same, because a lesion
    has up to six pictures. All other nevi, and everything else, test.
    """

    title = "HAM10000"
    source = "https://doi.org/10.7910/DVN/DBW86T"
    licence = "CC BY-NC 4.0; ViDIR Group, Medical University of Vienna"
    classes = (NORMAL_KIND, "akiec", "bcc", "bkl", "df", "mel", "vasc")
    folders = ("ham10000", "HAM10000")
    files = ("HAM10000_metadata.csv",)

    def read(self, location: Path, split: str) -> Collection:
        pictures = {path.stem: path for path in location.rglob("ISIC_*.jpg")}
        items = []
        for where, row in read_table(location / self.files[0], ("lesion_id", "image_id", "dx")):
            path = pictures.get(row["image_id"])
            if path is None:
                raise DataError(f"{where}: there is no {row['image_id']}.jpg in {location}; unpack both parts there")
            normal = row["dx"] == "nv"
            kind = NORMAL_KIND if normal else row["dx"]
            read = partial(read_image, path.as_posix())
            items.append(Item(path.as_posix(), read, kind=kind, anomalous=not normal, group=row["lesion_id"]))
        trained = _drawn([item.group or "" for item in items if not item.anomalous])
        chosen = [item for item in items if (not item.anomalous and item.group in trained) == (split == "train")]
        return Collection(chosen, f"{self.name}:{split}")


def _drawn(groups: list[str]) -> set[str]:
    """Lesions of normal pictures, drawn until they have the share that trains."""
    names, counts = np.unique(groups, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    room = round(_TRAINING_SHARE * len(groups))
    return {str(names[index]) for index, total in zip(order, np.cumsum(counts[order]), strict=True) if total <= room}
