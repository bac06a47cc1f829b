"""Regions: where in an image its smoothed map exceeds the threshold, in pixels of the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.boxes import Box
from ..data.preprocessing import Preprocessing
from .maps import MapScale, resized, smoothed


@dataclass(frozen=True)
class Region:
    """Connected pixels of one image; pixels that touch at a corner are connected.

    Attributes:
        box: the smallest that holds the region, in whole pixels of the image.
        area: number of pixels.
        peak: largest value of the smoothed map in the region, on the scale of the map.
        size: (height, width) of the image.
        counts: the mask in COCO's run-length encoding: how many pixels are outside, inside, outside, ... in turn, down
            the first column, then the next; they add up to height times width.
    """

    box: Box
    area: int
    peak: float
    size: tuple[int, int]
    counts: tuple[int, ...]

    def mask(self) -> NDArray[np.bool_]:
        """(height, width) bool, True inside.

        >>> Region(Box(1, 0, 1, 2), 2, 0.5, (2, 3), (2, 2, 2)).mask().astype(int).tolist()
        [[0, 1, 0], [0, 1, 0]]
        """
        height, width = self.size
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(width, height).T

    def rle(self) -> dict[str, list[int]]:
        """The mask as COCO files hold it: {"size": [height, width], "counts": [...]}."""
        return {"size": list(self.size), "counts": list(self.counts)}

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: `box` is [x, y, width, height], `mask` is `rle()`; `area` and `peak` as they are."""
        return {"box": list(self.box), "area": self.area, "peak": self.peak, "mask": self.rle()}


def find_regions(
    anomaly_map: NDArray[np.float32], scale: MapScale, preprocessing: Preprocessing, size: tuple[int, int]
) -> list[Region]:
    """Where the smoothed map, brought to the size of the image, exceeds the threshold; the highest peak first.

    Nothing is found where no location of the smoothed map itself exceeds the threshold. So of normal images like the
    calibration ones at most the share promised for the threshold has a region, however many pixels an image has.

    Args:
        anomaly_map: (h, w) of the prepared image, as `anomaly_map` gives it; resized bilinearly.
        scale: of the model's maps.
        preprocessing: of the model.
        size: (height, width) of the image before it was prepared.

    >>> anomaly_map = np.zeros((8, 8), np.float32)
    >>> anomaly_map[:, 4:] = 1
    >>> [region.box for region in find_regions(anomaly_map, MapScale(0, 0.5), Preprocessing("gray", 8, 8), (16, 32))]
    [Box(x=16, y=0, width=16, height=16)]
    """
    level = smoothed(anomaly_map)[preprocessing.region(*size)]
    if not level.max() > scale.threshold:  # most images end here, before their map is made large
        return []
    level = resized(level, *size)
    if preprocessing.roi is not None:
        level = np.where(preprocessing.roi.at(*size), level, np.float32(-np.inf))
    columns, firsts, ends = _runs(level > scale.threshold)
    found = []
    for runs in _connected(columns, firsts, ends, size[0]):
        peak = max(float(level[firsts[run] : ends[run], columns[run]].max()) for run in runs)
        found.append(_region(columns[runs], firsts[runs], ends[runs], peak, size))
    return sorted(found, key=lambda region: -region.peak)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The runs of True down each column, one column after the other: its number, their first row, the row behind."""
    steps = np.diff(mask.T.astype(np.int8), axis=1, prepend=np.int8(0), append=np.int8(0))
    columns, firsts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return columns, firsts, ends


def _connected(
    columns: NDArray[np.int64], firsts: NDArray[np.int64], ends: NDArray[np.int64], height: int
) -> list[list[int]]:
    """Indices of the runs of each connected component, by union-find over runs that touch in neighbouring columns."""
    place, step = columns * (height + 1), height + 1
    touched_from = np.searchsorted(place + ends, place + step + firsts, side="left")
    touched_to = np.searchsorted(place + firsts, place + step + ends, side="right")
    parents = list(range(len(columns)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    for run, (start, stop) in enumerate(zip(touched_from.tolist(), touched_to.tolist(), strict=True)):
        for other in range(start, stop):
            one, two = root(run), root(other)
            parents[max(one, two)] = min(one, two)
    components: dict[int, list[int]] = {}
    for run in range(len(parents)):
        components.setdefault(root(run), []).append(run)
    return list(components.values())


def _region(
    columns: NDArray[np.int64], firsts: NDArray[np.int64], ends: NDArray[np.int64], peak: float, size: tuple[int, int]
) -> Region:
    height, width = size
    x, y = int(columns.min()), int(firsts.min())
    box = Box(x, y, int(columns.max()) + 1 - x, int(ends.max()) - y)
    starts, stops = columns * height + firsts, columns * height + ends
    apart = starts[1:] != stops[:-1]  # a run to the foot of a column goes on at the head of the next
    edges = np.stack([starts[np.r_[True, apart]], stops[np.r_[apart, True]]], axis=1).ravel()
    counts = [later - earlier for earlier, later in pairwise([0, *edges.tolist(), height * width])]
    return Region(box, int((ends - firsts).sum()), peak, size, tuple(counts if counts[-1] else counts[:-1]))
