"""The lobby set: people cut out of the film of a surveillance camera at an entrance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from amiss.data.boxes import boxes_collection
from amiss.data.collection import Collection
from amiss.data.known.base import KnownSet

#: Which share of the crops trains, chooses and tests (Lee 2021, section 4.1).
_SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


class Lobby(KnownSet):
    """Lee 2021, section 4.1: crops at the boxes of people, divided 7 : 1 : 2 by sequence.

    The set is not public; this reads one of your own that is laid out alike: frames, and a `boxes.csv` (see
    `amiss.data.boxes.boxes_collection`) whose `group` names the sequence, and `anomalous` the label. Sequences are
    dealt at random, always alike, those with anomalies apart from the others. The splits `oversize-...` have the larger
    crops of section 4.5.
    """

    title = "Lobby"
    source = "Lee et al. 2021 (not public; lay out yours alike)"
    licence = "your own"
    splits = tuple(f"{crop}{part}" for crop in ("", "oversize-") for part in _SHARES)
    classes = ("good", "anomaly")
    folders = ("lobby",)
    files = ("boxes.csv",)

    def read(self, location: Path, split: str) -> Collection:
        crop, _, part = split.rpartition("-")
        crops = boxes_collection(location, location / self.files[0], "eval", crop or "plain")
        part_of = _dealt(crops)
        items = [
            replace(item, kind=item.kind or (None if item.anomalous is None else self.classes[item.anomalous]))
            for item in crops
            if part_of[item.group] == part
        ]
        return Collection(items, f"{self.name}:{split}", crops.notes)


def _dealt(crops: Collection) -> dict[str | None, str]:
    """The part of each sequence: the one that lacks most of its share."""
    counts: dict[str | None, int] = {}
    odd: set[str | None] = set()
    for item in crops:
        counts[item.group] = counts.get(item.group, 0) + 1
        if item.anomalous:
            odd.add(item.group)
    rng = np.random.default_rng(0)
    parts: dict[str | None, str] = {}
    for side in ([name for name in counts if name not in odd], [name for name in counts if name in odd]):
        there, total = dict.fromkeys(_SHARES, 0), sum(counts[name] for name in side)
        for index in rng.permutation(len(side)):
            part = max(_SHARES, key=lambda part: _SHARES[part] * total - there[part])
            parts[side[index]] = part
            there[part] += counts[side[index]]
    return parts
