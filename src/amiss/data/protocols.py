"""The papers' protocols, as pure functions of collections and a seed: what is learnt from, and what is tested."""

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
        test: labelled images.
        anomalies: labelled anomalies that may be learnt from, where the protocol has any.
    """

    train: Collection
    test: Collection
    anomalies: Collection | None = None


def one_class(train: Collection, test: Collection, normal: str) -> Protocol:
    """One kind is normal, every other is anomalous (ALPS table I, thesis table 4.1).

    Raises:
        UsageError: there is no such kind.
    """
    _check_kinds(train, [normal])
    chosen = train.where(lambda item: item.kind == normal)
    return Protocol(_labelled(chosen, [normal]), _labelled(test, [normal]))


def one_anomalous(pool: Collection, anomalous: str, seed: int, test_share: float = 0.2) -> Protocol:
    """One kind is anomalous, every other is normal; 80:20 within each kind (ADNL 4.4).

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

    Where there are too few anomalies, all of them, and as many normal images as the share asks for.

    Raises:
        UsageError: a share outside (0, 1), or images of one label only.
    """
    _check_share("share", share, 0.0, 1.0)
    labels = test.labels()
    normal, anomalous = np.flatnonzero(~labels), np.flatnonzero(labels)
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
        pool: images whose kinds are categories.
        categories: how many are normal: 1, 3 or 5 in the paper.
        clutter: the kind that outliers come from, never normal.
        first: images of each category that are used, in their order.
        outlier_share: of the test images.
        test_share: of the normal images; the paper is silent, so as in ADNL.

    Raises:
        UsageError: no such kind, more categories than there are, or a share out of range.
    """
    _check_kinds(pool, [clutter])
    _check_share("test_share", test_share, 0.0, 1.0)
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
    test = [*_picked(inliers, sorted(tested)), *_picked(labelled, _of_kind(labelled, clutter))]
    return Protocol(train, outliers(replace(pool, items=test), outlier_share, seed))


def few_labels(anomalies: Collection, count: int, seed: int, kinds: Sequence[str] | None = None) -> Collection:
    """`count` labelled anomalies, of the given kinds alone; with the same seed, more of them contain the fewer.

    Raises:
        UsageError: no such kind, or fewer anomalies than `count`.
    """
    if kinds is not None:
        _check_kinds(anomalies, kinds)
    allowed = [index for index, item in enumerate(anomalies) if kinds is None or item.kind in kinds]
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
    def label(item: Item) -> Item:
        return replace(item, anomalous=item.kind not in normal)

    return replace(collection, items=[label(item) for item in collection])


def _picked(collection: Collection, indices: Iterable[int]) -> Collection:
    return replace(collection, items=[collection[int(index)] for index in indices])


def _of_kind(collection: Collection, kind: str) -> list[int]:
    return [index for index, item in enumerate(collection) if item.kind == kind]


def _drawn_by_kind(collection: Collection, share: float, seed: int) -> list[int]:
    """Indices of a share of every kind, at least one of each, drawn at random."""
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    for kind in sorted(_kinds(collection)):
        there = _of_kind(collection, kind)
        drawn += [there[index] for index in rng.permutation(len(there))[: max(1, round(share * len(there)))]]
    return sorted(drawn)
