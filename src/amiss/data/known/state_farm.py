"""State Farm distracted drivers: people at the wheel, seen from the side, 26 of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from amiss.data.collection import Collection, Item
from amiss.data.decode import read_image
from amiss.data.known.base import KnownSet
from amiss.data.labels import NORMAL_KIND, read_table
from amiss.errors import DataError

#: How many drivers train (RAVI 4.2.2, of 25).
_TRAINING_DRIVERS = 16


class StateFarm(KnownSet):
    """State Farm distracted driver detection, 2016. Driving safely (`c0`) is normal; the other nine kinds are not.

    Stands for the thesis's set of 25 drivers, which is not public: 16 drivers, drawn at random and always the same,
    train with their normal images. `test` holds all images of the other drivers; `rest`, as in the thesis, also the
    distracted ones of those that train.
    """

    title = "State Farm distracted drivers"
    source = "https://www.kaggle.com/competitions/state-farm-distracted-driver-detection"
    licence = "for the competition's purposes; State Farm"
    splits = ("train", "test", "rest")
    classes = (
        NORMAL_KIND, "texting right", "phone right", "texting left", "phone left", "radio", "drinking",
        "reaching behind", "hair and makeup", "talking",
    )  # fmt: skip
    folders = ("state-farm", "state-farm-distracted-driver-detection")
    files = ("driver_imgs_list.csv",)

    def read(self, location: Path, split: str) -> Collection:
        table = location / self.files[0]
        rows = list(read_table(table, ("subject", "classname", "img")))
        drivers = sorted({row["subject"] for _, row in rows})
        trained = {drivers[index] for index in np.random.default_rng(0).permutation(len(drivers))[:_TRAINING_DRIVERS]}
        items = []
        for where, row in rows:
            label = row["classname"].removeprefix("c")
            path = location / "imgs" / "train" / row["classname"] / row["img"]
            if not (label.isdecimal() and int(label) < len(self.classes) and path.is_file()):
                raise DataError(f"{where}: {path} does not exist; unpack imgs.zip there")
            anomalous, trains = int(label) > 0, row["subject"] in trained
            if {"train": trains and not anomalous, "test": not trains, "rest": anomalous or not trains}[split]:
                read = partial(read_image, path.as_posix())
                kind = self.classes[int(label)]
                items.append(Item(path.as_posix(), read, kind=kind, anomalous=anomalous, group=row["subject"]))
        return Collection(items, f"{self.name}:{split}")
