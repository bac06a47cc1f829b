"""The papers' protocols, as pure functions of collections and a seed: what is learnt from, and what is tested.

Images are told apart by their names and sorted by their kinds; those without a kind are left out. Nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UsageError
from .collection import Collection, Item


@dataclass(frozen=True)
class Protocol:
    """What to fit on and what to test; no image is in two of them.

    Attributes:
        train: normal images.
        test: labelled images, both normal ones and anomalies.
        anomalies: labelled anomalies that may be learnt from, where the protocol has any.

    Raises:
        UsageError: an image is in two of them, there is nothing to fit on, or the test has one label only.
    """

    train: Collection
    test: Collection
    anomalies: Collection | None = None

    def __post_init__(self) -> None:
        fitted = {item.name for part in (self.train, self.anomalies or ()) for item in part}
        twice = next((item.name for item in self.test if item.name in fitted), None)
        if twice is not None:
            raise UsageError(f"{twice} would be both learnt from and tested; give parts without common images")
        if not self.train:
            raise UsageError(f"no normal image of {self.train.title} is left to fit on; give more, or test fewer")
        labels = self.test.labels()
        if labels.all() or not labels.any():
            missing = "normal image" if labels.all() else "anomaly"
            raise UsageError(f"no {missing} of {self.test.title} is left to test; give more, or test more")


def one_class(train: Collection, test: Collection, normal: str) -> Protocol:
    """One kind is normal, every other is anomalous (ALPS table I, thesis table 4.1).

    Args:
        train: of these, only the images of the kind are kept.
        test: all of these are kept; no image of `train` may be among them.
        normal: the kind.

    Raises:
        UsageError: there is no such kind in one of the two, no other kind in `test`, or a common image.
    """
    _check_kinds(train, [normal])
    _check_kinds(test, [normal])
    chosen = train.where(lambda item: item.kind == normal)
    return Protocol(_labelled(chosen, [normal]), _labelled(test, [normal]))


def one_anomalous(pool: Collection, anomalous: str, seed: int, test_share: float = 0.2) -> Protocol:
    """One kind is anomalous, every other is normal; 80:20 within each kind (ADNL 4.4).

    Images of one group are never divided; large groups make the share rough. At least one image, or group, of every
    kind is tested.

    Args:
        pool: images with kinds; it is divided into all three parts.
        anomalous: the kind; its images that are not tested become `Protocol.anomalies`.
        seed: chooses what is tested.
        test_share: of the images of every kind.

    Raises:
        UsageError: there is no such kind, or a share that leaves nothing.
    """
    _check_kinds(pool, [anomalous])
    _check_share("test_share", test_share, 0.0, 1.0)
    normal = sorted(_kinds(pool) - {anomalous})
    labelled = _labelled(pool, normal)
    test = _drawn_by_kind(labelled, test_share, seed)
    held = set(test)
    rest = [index for index in range(len(labelled)) if index not in held]
    return Protocol(
        _picked(labelled, [index for index in rest if not labelled[index].anomalous]),
        _picked(labelled, test),
        _picked(labelled, [index for index in rest if labelled[index].anomalous]),
    )


def outliers(test: Collection, share: float, seed: int) -> Collection:
    """All normal images of `test`, and anomalies drawn at random until they make up `share` of the whole (G2D 4.2).

    Where there are too few anomalies, all of them, and as many normal images as the share asks for. The share is met
    to the nearest image, with at least one of either label; a larger share contains the anomalies of a smaller one.

    Args:
        test: labelled images; unlabelled ones are left out.
        share: 0.1 to 0.5 in the paper.
        seed: chooses which are drawn.

    Raises:
        UsageError: a share outside (0, 1), or images of one label only.
    """
    _check_share("share", share, 0.0, 1.0)
    normal = np.array([index for index, item in enumerate(test) if item.anomalous is False])
    anomalous = np.array([index for index, item in enumerate(test) if item.anomalous])
    if not len(normal) or not len(anomalous):
        raise UsageError(f"{test.title} must hold both normal images and anomalies, to mix them")
    rng = np.random.default_rng(seed)
    wanted = max(1, round(share / (1 - share) * len(normal)))
    if wanted > len(anomalous):
        wanted = len(anomalous)
        normal = rng.permutation(normal)[: max(1, round((1 - share) / share * wanted))]
    return _picked(test, np.sort(np.concatenate([normal, rng.permutation(anomalous)[:wanted]])))


def inlier_categories(
    pool: Collection,
    categories: int,
    clutter: str,
    seed: int,
    first: int = 150,
    outlier_share: float = 0.5,
    test_share: float = 0.2,
) -> Protocol:
    """Some categories, drawn at random, are normal; outliers are drawn from clutter (G2D 4.2, Caltech-256).

    Args:
        pool: images whose kinds are categories, for instance `amiss.data.folder.class_folders`.
        categories: how many are normal: 1, 3 or 5 in the paper.
        clutter: the kind that outliers come from, never normal.
        seed: chooses the categories, what is tested of them, and the outliers.
        first: images of each category that are used, in their order.
        outlier_share: of the test images.
        test_share: of the normal images; the paper is silent, so as in ADNL. Groups are never divided.

    Raises:
        UsageError: no such kind, more categories than there are, or a share out of range.
    """
    _check_kinds(pool, [clutter])
    _check_share("test_share", test_share, 0.0, 1.0)
    _check_share("outlier_share", outlier_share, 0.0, 1.0)
    if first < 1:
        raise UsageError(f"first must be at least 1, but is {first}")
    there = sorted(_kinds(pool) - {clutter})
    if not 1 <= categories <= len(there):
        raise UsageError(f"categories must be from 1 to {len(there)}, but is {categories}")
    rng = np.random.default_rng(seed)
    normal = [str(kind) for kind in rng.choice(there, categories, replace=False)]
    labelled = _labelled(pool, normal)
    kept = [index for kind in normal for index in _of_kind(labelled, kind)[:first]]
    inliers = _picked(labelled, kept)
    tested = set(_drawn_by_kind(inliers, test_share, seed))
    train = _picked(inliers, [index for index in range(len(inliers)) if index not in tested])
    outside = _picked(labelled, _of_kind(labelled, clutter))
    shown = {_unit(item) for item in train}
    test = [*_picked(inliers, sorted(tested)), *(item for item in outside if _unit(item) not in shown)]
    return Protocol(train, outliers(replace(pool, items=test), outlier_share, seed))


def few_labels(anomalies: Collection, count: int, seed: int, kinds: Sequence[str] | None = None) -> Collection:
    """`count` labelled anomalies, of the given kinds alone; with the same seed, more of them contain the fewer.

    Args:
        anomalies: what to draw from, for instance `Protocol.anomalies`; images not labelled anomalous are not drawn.
        count: how many, from 0.
        seed: chooses which.
        kinds: the kinds that may be shown, so that another one stays unseen; None: all.

    Raises:
        UsageError: no such kind, or fewer anomalies than `count`.
    """
    if kinds is not None:
        _check_kinds(anomalies, kinds)
    allowed = [
        index for index, item in enumerate(anomalies) if item.anomalous and (kinds is None or item.kind in kinds)
    ]
    if not 0 <= count <= len(allowed):
        raise UsageError(f"count must be from 0 to {len(allowed)}, the anomalies there are, but is {count}")
    order = np.random.default_rng(seed).permutation(len(allowed))[:count]
    return _picked(anomalies, [allowed[index] for index in order])


def _kinds(collection: Collection) -> set[str]:
    return {item.kind for item in collection if item.kind is not None}


def _check_kinds(collection: Collection, kinds: Iterable[str]) -> None:
    there = _kinds(collection)
    for kind in kinds:
        if kind not in there:
            raise UsageError(f"{collection.title} has no kind {kind!r}; it has: {', '.join(sorted(there))}")


def _check_share(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise UsageError(f"{name} must lie between {low:g} and {high:g}, but is {value}")


def _labelled(collection: Collection, normal: Sequence[str]) -> Collection:
    items = [replace(item, anomalous=item.kind not in normal) for item in collection if item.kind is not None]
    return replace(collection, items=items)


def _picked(collection: Collection, indices: Iterable[int]) -> Collection:
    return replace(collection, items=[collection[int(index)] for index in indices])


def _of_kind(collection: Collection, kind: str) -> list[int]:
    return [index for index, item in enumerate(collection) if item.kind == kind]


def _unit(item: Item) -> tuple[str, str]:
    """What is never divided: a group, or else an image."""
    return ("image", item.name) if item.group is None else ("group", item.group)


def _drawn_by_kind(collection: Collection, share: float, seed: int) -> list[int]:
    """Indices of a share of every kind, at least one unit of each, drawn at random; a unit counts as its first kind."""
    units: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(collection):
        units.setdefault(_unit(item), []).append(index)
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    for kind in sorted(_kinds(collection)):
        there = [unit for unit in units.values() if collection[unit[0]].kind == kind]
        room = max(1, round(share * sum(map(len, there))))
        chosen: list[int] = []
        for index in rng.permutation(len(there)):
            if len(chosen) + len(there[index]) <= room:
                chosen += there[index]
        if there and not chosen:  # every group is too large
            chosen = min(there, key=len)
        drawn += chosen
    return sorted(drawn)
