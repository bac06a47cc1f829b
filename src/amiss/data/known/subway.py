"""Subway: the entrance and the exit gates of a station, one long video each."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amiss.data.collection import Collection, Item
from amiss.data.decode import check_pixels
from amiss.data.known.base import KnownSet
from amiss.data.video import VIDEO_ENDINGS, frames_of
from amiss.errors import DataError

#: A moment that is named stands for so many frames on either side of it (RAVI 4.2.6).
_WIDENED = 15
#: Minutes at the beginning that train (RAVI 4.2.6).
_TRAINING_MINUTES = {"entrance": 15, "exit": 5}


class Subway(KnownSet):
    """Adam et al. 2008. The first 15 (entrance) or 5 (exit) minutes train, the rest tests.

    The authors give the videos on request: put them beside each other as `entrance.avi` and `exit.avi` (or another
    video ending). `entrance.txt` and `exit.txt` name the events, a line each: the number of a frame, counted from 0,
    or its first and last one. Each is widened by 15 frames on either side, as in the papers.
    """

    title = "Subway entrance and exit"
    source = "Adam, Rivlin, Shimshoni and Reinitz, IEEE TPAMI 2008, on request"
    licence = "for research"
    splits = ("entrance-train", "entrance-test", "exit-train", "exit-test")
    classes = ("good", "anomaly")
    folders = ("subway",)
    files = ("entrance.txt", "exit.txt")

    def read(self, location: Path, split: str) -> Collection:
        gate, _, part = split.partition("-")
        places = [location / f"{gate}{ending}" for ending in VIDEO_ENDINGS]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(f"{location} holds no {gate}.avi (or of another video ending); put the video there")
        item = Item(path.as_posix(), partial(check_pixels, np.zeros((1, 1), np.uint8), path.name), group=None)
        frames = frames_of(item)
        marked = _marked(location / f"{gate}.txt", len(frames))
        labelled = frames_of(item, lambda index: bool(marked[index]))
        seconds = 60 * _TRAINING_MINUTES[gate]
        first = next((i for i in range(len(frames)) if (labelled[i].time or 0) >= seconds), len(frames))
        chosen = labelled[:first] if part == "train" else labelled[first:]
        if not chosen:
            raise DataError(f"{path} is shorter than the {_TRAINING_MINUTES[gate]} minutes that train; give it whole")
        return Collection(chosen, f"{self.name}:{split}")


def _marked(table: Path, count: int) -> NDArray[np.bool_]:
    """(count,) True within 15 frames of an event."""
    marked = np.zeros(count, dtype=np.bool_)
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)(?:[\s,;]+(\d+))?\s*", line)
        if match is None:
            raise DataError(f"{table}, line {number}: {line.strip()!r} is not a frame, or a first and a last one")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= count:
            raise DataError(f"{table}, line {number}: frames {first} to {last} are not among the video's {count}")
        marked[max(0, first - _WIDENED) : last + _WIDENED + 1] = True
    return marked
