"""CUHK Avenue: a campus avenue with people running, throwing things and walking the wrong way."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amiss.data.collection import Collection, Item
from amiss.data.decode import check_pixels
from amiss.data.known.base import KnownSet
from amiss.data.video import Chained, frames_of
from amiss.environment import versions
from amiss.errors import DataError


class Avenue(KnownSet):
    """16 training and 21 test videos, 640x360 in colour, 25 frames a second.

    A frame is anomalous where its mask marks anything.
    """

    title = "CUHK Avenue"
    source = "http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/dataset.html"
    licence = "for research; Lu, Shi and Jia, ICCV 2013"
    classes = ("good", "anomaly")
    folders = ("avenue", "Avenue_Dataset", "Avenue Dataset")
    files = ("training_videos", "testing_videos")

    def read(self, location: Path, split: str) -> Collection:
        folder = location / {"train": "training_videos", "test": "testing_videos"}[split]
        videos = sorted(folder.glob("*.avi"))
        if not videos:
            raise DataError(f"{folder} holds no videos 01.avi, 02.avi, ...; fetch {self.source} again")
        parts = []
        for path in videos:
            item = Item(path.as_posix(), partial(check_pixels, np.zeros((1, 1), np.uint8), path.name), anomalous=False)
            if split == "test":
                marked = _marked(location, int(path.stem))
                parts.append(frames_of(item, partial(_label, marked)))
                if len(parts[-1]) != len(marked):
                    raise DataError(
                        f"{path} has {len(parts[-1])} frames, and its labels are of {len(marked)}; "
                        f"fetch {self.source} again"
                    )
            else:
                parts.append(frames_of(item))
        return Collection(Chained(parts), f"{self.name}:{split}")


def _label(marked: NDArray[np.bool_], frame: int) -> bool:
    return bool(marked[frame])


def _marked(location: Path, number: int) -> NDArray[np.bool_]:
    """(frames,) True where the official masks of a test video mark anything."""
    versions.require("train", "reading the labels of avenue", "scipy")
    from scipy.io import loadmat

    found = next(iter(sorted(location.rglob(f"testing_label_mask/{number}_label.mat"))), None)
    if found is None:
        raise DataError(f"{location} holds no testing_label_mask/{number}_label.mat; fetch the set's ground truth")
    try:
        masks: Any = loadmat(found)["volLabel"]
    except Exception as error:  # scipy meets broken files with errors of many classes
        raise DataError(f"{found} cannot be read as the labels of a video ({error}); fetch it again") from error
    return np.array([np.any(mask) for mask in masks.ravel()], dtype=np.bool_)
