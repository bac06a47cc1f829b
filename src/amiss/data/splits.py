"""Normals are split three ways, by group: train, stop (chooses the epoch), calibrate (sets the threshold); or into
folds, each of which is scored by a fit on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

#: Fewest normal images a detector is fitted on; below, a part of the split would be empty or meaningless.
FEWEST_NORMALS = 8
#: With folds, nothing is held out for good, so fewer will do. There are 10 folds where images are few, and a fit
#: on nearly all of them is worth its time; else 5.
FEWEST_CROSSED, _FOLDS_OF_FEW, _FEW, _FOLDS = 4, 10, 100, 5
#: Share of the normals that chooses the epoch, and that calibrates; the latter holds at most 1,000 images.
STOP_SHARE, CALIBRATE_SHARE, MOST_CALIBRATION = 0.1, 0.2, 1000


@dataclass(frozen=True)
class Splits:
    """Indices (int64, sorted) of the three disjoint parts; together they are all images."""

    train: NDArray[np.int64]
    stop: NDArray[np.int64]
    calibrate: NDArray[np.int64]


def split_normals(
    groups: Sequence[str | None], digests: Sequence[str], seed: int = 0, alike: Sequence[int] | None = None
) -> Splits:
    """Divide n normal images; images of one group, and images with the same pixels, stay together.

    Args:
        groups: n group names, None where an image stands alone.
        digests: n digests of the pixels: copies of one picture would otherwise leak from one part to another.
        seed: chooses which groups go where.
        alike: n numbers; images that share one stay together too, where enough groups are left.

    Raises:
        DataError: fewer than 8 images, or fewer than three groups.

    >>> parts = split_normals([None] * 100, [str(i) for i in range(100)])
    >>> len(parts.train), len(parts.stop), len(parts.calibrate)
    (70, 10, 20)
    """
    n = _enough(digests, FEWEST_NORMALS)
    joined = _clusters(groups, digests, alike)
    if len(joined) < 3:
        raise DataError(
            f"the {n} normal images fall into {len(joined)} group(s) of related or identical pictures, and training, "
            "stopping and calibration need one each; give images of more items, or longer video"
        )
    order = np.random.default_rng(seed).permutation(len(joined))
    parts = _deal([joined[index] for index in order], n)
    indices = {name: sorted(index for cluster in part for index in cluster) for name, part in parts.items()}
    return Splits(*(np.array(indices[name], dtype=np.int64) for name in ("train", "stop", "calibrate")))


def split_folds(
    groups: Sequence[str | None], digests: Sequence[str], seed: int = 0, alike: Sequence[int] | None = None
) -> list[NDArray[np.int64]]:
    """Divide n normal images in folds of about one size: 10, or 5 from 100 images on, or as many as there are groups.

    What `split_normals` keeps together stays so.

    Returns: sorted indices of each fold; together they are all images.

    Raises:
        DataError: fewer than 4 images, or a single group.

    >>> [len(fold) for fold in split_folds([None] * 25, [str(i) for i in range(25)])]
    [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    """
    n = _enough(digests, FEWEST_CROSSED)
    joined = _clusters(groups, digests, alike)
    if len(joined) < 2:
        raise DataError(
            f"the {n} normal images are one group of related or identical pictures, and some must be scored by what "
            "was learnt from others; give images of more items, or longer video"
        )
    folds: list[list[int]] = [[] for _ in range(min(_FOLDS_OF_FEW if n < _FEW else _FOLDS, len(joined)))]
    for number in np.random.default_rng(seed).permutation(len(joined)):
        min(folds, key=len).extend(joined[number])
    return [np.array(sorted(fold), dtype=np.int64) for fold in folds]


def _enough(digests: Sequence[str], fewest: int) -> int:
    """How many images there are. Raises `DataError` for fewer than a fit takes."""
    n = len(digests)
    if n < fewest:
        raise DataError(f"{n} normal image{'s' * (n != 1)} cannot be fitted; give at least {fewest}")
    return n


def _deal(joined: list[list[int]], n: int) -> dict[str, list[list[int]]]:
    """Give each cluster in turn to the first part that has room for it; none is left without any."""
    room = {
        "calibrate": min(max(1, round(CALIBRATE_SHARE * n)), MOST_CALIBRATION),
        "stop": max(1, round(STOP_SHARE * n)),
        "train": n,
    }
    parts: dict[str, list[list[int]]] = {name: [] for name in room}
    for cluster in joined:
        name = next(name for name in room if len(cluster) <= room[name])
        parts[name].append(cluster)
        room[name] -= len(cluster)
    for part in parts.values():
        if not part:  # every cluster was too large for it: it gets the smallest that another can spare
            donor = max(parts.values(), key=len)
            part.append(donor.pop(min(range(len(donor)), key=lambda index: len(donor[index]))))
    return parts


def _clusters(groups: Sequence[str | None], digests: Sequence[str], alike: Sequence[int] | None) -> list[list[int]]:
    """As `clusters`; what is alike is joined as long as there are enough groups for any division."""
    joined = clusters(groups, digests, alike)
    return joined if len(joined) >= _FOLDS_OF_FEW else clusters(groups, digests)


def clusters(
    groups: Sequence[str | None], digests: Sequence[str], alike: Sequence[int] | None = None
) -> list[list[int]]:
    """Indices joined by a shared group, shared pixels, or a shared number of `alike` (connected components), in order
    of first appearance."""
    parent = list(range(len(digests)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str | int], int] = {}
    for index, (group, digest) in enumerate(zip(groups, digests, strict=True)):
        keys: list[tuple[str, str | int]] = [("pixels", digest)]
        keys += [] if group is None else [("group", group)]
        keys += [] if alike is None else [("alike", alike[index])]
        for key in keys:
            parent[root(index)] = root(first.setdefault(key, index))
    members: dict[int, list[int]] = {}
    for index in range(len(parent)):
        members.setdefault(root(index), []).append(index)
    return list(members.values())
