"""VisA: 12 kinds of objects, among them circuit boards and several objects in a picture, with masks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from amiss.data.collection import Collection, Item
from amiss.data.decode import read_image
from amiss.data.known.base import KnownSet
from amiss.data.labels import read_table
from amiss.errors import DataError


class VisA(KnownSet):
    """Zou et al., SPot-the-difference self-supervised pre-training for anomaly detection, ECCV 2022.

    Splits are the authors' for one class, `split_csv/1cls.csv`, whose rows name the images and their masks.
    """

    title = "VisA"
    source = "https://github.com/amazon-science/spot-diff"
    licence = "CC BY 4.0; Amazon"
    categories: ClassVar[tuple[str, ...]] = (
        "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
        "pipe_fryum",
    )  # fmt: skip
    splits = tuple(f"{category}-{part}" for category in categories for part in ("train", "test"))
    classes = ("good", "anomaly")
    folders = ("visa", "VisA", "VisA_20220922")
    files = ("split_csv/1cls.csv",)

    def read(self, location: Path, split: str) -> Collection:
        category, _, part = split.rpartition("-")
        items = []
        for where, row in read_table(location / self.files[0], ("object", "split", "label", "image")):
            if (row["object"], row["split"]) != (category, part):
                continue
            path = location / row["image"]
            if not path.is_file():
                raise DataError(f"{where}: {path} does not exist; unpack {self.source} again")
            anomalous = row["label"] != "normal"
            mask = row.get("mask")
            items.append(
                Item(
                    path.as_posix(),
                    partial(read_image, path.as_posix()),
                    kind=self.classes[anomalous],
                    anomalous=anomalous,
                    mask=location / mask if anomalous and mask else None,
                )
            )
        if not items:
            raise DataError(f"{location / self.files[0]} lists no image of {split}; fetch {self.source} again")
        return Collection(items, f"{self.name}:{split}")
