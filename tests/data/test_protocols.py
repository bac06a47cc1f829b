"""No image is both learnt from and tested, and every share is the one asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from amiss.data import Collection, Item
from amiss.data.folder import class_folders
from amiss.data.protocols import Protocol, few_labels, inlier_categories, one_anomalous, one_class, outliers
from amiss.errors import UsageError


def make(kinds: Iterable[str | None], start: str = "i", groups: Sequence[str | None] | None = None) -> Collection:
    """One unlabelled image a kind, as classes come; nothing can be read, since nothing may be decoded."""
    items = [Item(f"{start}{n}", lambda: pytest.fail("decoded"), kind=kind) for n, kind in enumerate(kinds)]
    if groups is not None:
        items = [replace(item, group=group) for item, group in zip(items, groups, strict=True)]
    return Collection(items, "toys", ("a note",))


def names(collection: Collection | None) -> list[str]:
    return [item.name for item in collection or ()]


def labelled(normal: int, anomalous: int, unlabelled: int = 0) -> Collection:
    labels = [False] * normal + [True] * anomalous + [None] * unlabelled
    return Collection(
        [replace(item, anomalous=label) for item, label in zip(make("k" * len(labels)), labels, strict=True)]
    )


def check(protocol: Protocol, total: int | None = None) -> None:
    """What every protocol promises."""
    parts = [names(protocol.train), names(protocol.test), names(protocol.anomalies)]
    together = [name for part in parts for name in part]
    assert len(set(together)) == len(together)
    assert total is None or len(together) == total
    assert {item.anomalous for item in protocol.train} == {False}
    assert {item.anomalous for item in protocol.test} == {False, True}
    assert {item.anomalous for item in protocol.anomalies or ()} <= {True}
    assert protocol.test.notes == ("a note",)


def test_one_class() -> None:
    protocol = one_class(make("aabbc"), make(["a", "b", "c", None], "t"), "a")
    check(protocol)
    assert names(protocol.train) == ["i0", "i1"]
    assert [(item.name, item.anomalous) for item in protocol.test] == [("t0", False), ("t1", True), ("t2", True)]
    assert protocol.anomalies is None


def test_one_class_of_the_same_images_is_refused() -> None:
    with pytest.raises(UsageError, match="i0 would be both learnt from and tested"):
        one_class(make("ab"), make("ab"), "a")


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=5),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_one_anomalous(counts: list[int], share: float, seed: int, data: st.DataObject) -> None:
    kinds = data.draw(st.permutations([chr(97 + kind) for kind, count in enumerate(counts) for _ in range(count)]))
    pool = make(kinds)
    try:
        protocol = one_anomalous(pool, "b", seed, share)
    except UsageError:  # so few normal images that every one of them is tested
        assert all(round(share * count) >= count for count in (counts[0], *counts[2:]))
        return
    check(protocol, len(pool))
    assert protocol.anomalies is not None
    tested = Counter(item.kind for item in protocol.test)
    assert tested == {chr(97 + kind): max(1, round(share * count)) for kind, count in enumerate(counts)}
    assert {item.kind for item in (*protocol.anomalies, *protocol.test.where(lambda item: item.anomalous is True))} == {
        "b"
    }
    assert names(protocol.test) == names(one_anomalous(pool, "b", seed, share).test)


@given(
    groups=st.lists(st.one_of(st.none(), st.sampled_from("ABCDEF")), min_size=30, max_size=60), seed=st.integers(0, 9)
)
def test_one_anomalous_never_divides_a_group(groups: list[str | None], seed: int) -> None:
    pool = make([("a", "b", "c")[n % 3] for n in range(len(groups))], groups=groups)
    try:
        protocol = one_anomalous(pool, "b", seed)
    except UsageError:  # few, large groups
        return
    check(protocol, len(pool))
    fitted = {item.group for part in (protocol.train, protocol.anomalies or ()) for item in part}
    assert not fitted & {item.group for item in protocol.test} - {None}


def test_another_seed_draws_others() -> None:
    pool = make("ab" * 50)
    assert names(one_anomalous(pool, "a", 0).test) != names(one_anomalous(pool, "a", 1).test)


@given(normal=st.integers(1, 200), anomalous=st.integers(1, 200), share=st.floats(0.1, 0.5), seed=st.integers(0, 9))
def test_outliers_have_their_share(normal: int, anomalous: int, share: float, seed: int) -> None:
    mixed = outliers(labelled(normal, anomalous, 3), share, seed)
    labels = mixed.labels()
    assert None not in {item.anomalous for item in mixed}
    assert len(set(names(mixed))) == len(mixed)
    assert labels.any()
    assert not labels.all()
    # to the nearest image: one anomaly more or fewer would be further off, where another was to be had
    found = int(labels.sum())
    assert (len(mixed) - found == normal) or found == anomalous
    assert abs(found - share * len(mixed)) <= 0.5 or found == 1 or len(mixed) - found == 1


def test_outliers_of_one_fifth_and_of_too_few() -> None:
    mixed = outliers(labelled(80, 500), 0.2, 0)
    assert (len(mixed), mixed.labels().sum()) == (100, 20)
    scarce = outliers(labelled(80, 10), 0.5, 0)
    assert (len(scarce), scarce.labels().sum()) == (20, 10)
    assert set(names(outliers(labelled(80, 500), 0.1, 0))) < set(names(outliers(labelled(80, 500), 0.5, 0)))


@given(
    counts=st.lists(st.integers(10, 30), min_size=3, max_size=5),
    clutter=st.integers(1, 60),
    first=st.integers(10, 25),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_inlier_categories(counts: list[int], clutter: int, first: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(counts)))
    kinds = [str(kind) for kind, count in enumerate(counts) for _ in range(count)] + ["clutter"] * clutter
    pool = make(kinds)
    protocol = inlier_categories(pool, k, "clutter", seed, first)
    check(protocol)
    normal = {item.kind for item in protocol.train}
    assert len(normal) == k
    assert {item.kind for item in protocol.test if not item.anomalous} <= normal
    assert {item.kind for item in protocol.test if item.anomalous} == {"clutter"}
    place = {item.name: kinds[:n].count(kinds[n]) for n, item in enumerate(pool)}
    inliers = [*protocol.train, *protocol.test.normal]
    assert max(place[item.name] for item in inliers) < first
    labels = protocol.test.labels()
    assert (
        labels.sum()
        == (~labels).sum()
        == min(clutter, sum(round(0.2 * min(counts[int(str(kind))], first)) for kind in normal))
    )


def test_inliers_are_drawn_by_the_seed() -> None:
    pool = make([kind for kind in "abcdefgh" for _ in range(10)] + ["clutter"] * 20)
    drawn = {frozenset(item.kind for item in inlier_categories(pool, 3, "clutter", seed).train) for seed in range(5)}
    assert len(drawn) > 1


def test_clutter_of_a_group_that_is_learnt_from_is_not_tested() -> None:
    pool = make("a" * 10 + "c" * 10, groups=[str(n % 5) for n in range(20)])
    protocol = inlier_categories(pool, 1, "c", 0)
    check(protocol)
    assert not {item.group for item in protocol.train} & {item.group for item in protocol.test}


def test_a_tree_of_class_folders(tmp_path: Path) -> None:
    for kind, count in (("001.ak47", 6), ("002.flag", 5), ("257.clutter", 4)):
        (tmp_path / kind).mkdir()
        for n in range(count):
            Image.fromarray(np.full((4, 5), n, np.uint8)).save(tmp_path / kind / f"{kind[:3]}_{n + 1:04d}.jpg")
    protocol = inlier_categories(class_folders(tmp_path), 2, "257.clutter", 0, first=5)
    assert Counter(item.kind for item in protocol.train) == {"001.ak47": 4, "002.flag": 4}
    assert Counter(item.kind for item in protocol.test) == {"001.ak47": 1, "002.flag": 1, "257.clutter": 2}
    assert not any(item.name.endswith("001_0006.jpg") for part in (protocol.train, protocol.test) for item in part)
    assert protocol.test[0].read().shape == (4, 5)


@given(
    kinds=st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    shown=st.one_of(st.none(), st.lists(st.sampled_from("abc"), min_size=1, unique=True)),
    seed=st.integers(0, 9),
)
def test_few_labels_are_nested_and_of_the_shown_kinds(kinds: list[str], shown: list[str] | None, seed: int) -> None:
    anomalies = Collection([replace(item, anomalous=True) for item in make(kinds)])
    if shown is not None and not set(shown) <= set(kinds):
        with pytest.raises(UsageError, match="has no kind"):
            few_labels(anomalies, 0, seed, shown)
        return
    most = sum(shown is None or kind in shown for kind in kinds)
    smaller: set[str] = set()
    for count in range(most + 1):
        drawn = few_labels(anomalies, count, seed, shown)
        assert len(drawn) == len(set(names(drawn))) == count
        assert smaller <= set(names(drawn))
        assert shown is None or {item.kind for item in drawn} <= set(shown)
        smaller = set(names(drawn))
    with pytest.raises(UsageError, match=f"from 0 to {most}"):
        few_labels(anomalies, most + 1, seed, shown)


def test_few_labels_are_anomalies() -> None:
    assert all(item.anomalous for item in few_labels(labelled(5, 5, 5), 5, 0))
    with pytest.raises(UsageError, match="from 0 to 5"):
        few_labels(labelled(5, 5, 5), 6, 0)


def test_what_cannot_be_meant() -> None:
    pool, clutter = make("aaaabbbb"), make("aaaabbbb" + "c" * 4)
    for call, cause in (
        (lambda: one_class(pool, make("ab", "t"), "z"), "no kind 'z'; it has: a, b"),
        (lambda: one_class(pool, make("bb", "t"), "a"), "no kind 'a'"),
        (lambda: one_class(pool, make("aa", "t"), "a"), "no anomaly of toys is left to test"),
        (lambda: one_anomalous(pool, "z", 0), "no kind 'z'"),
        (lambda: one_anomalous(pool, "a", 0, 1.0), "test_share must lie between 0 and 1, but is 1.0"),
        (lambda: one_anomalous(pool, "a", 0, float("nan")), "test_share"),
        (lambda: one_anomalous(pool, "a", 0, 0.95), "no normal image of toys is left to fit on"),
        (lambda: one_anomalous(make("aaa"), "a", 0), "no normal image"),
        (lambda: outliers(labelled(3, 3), 0.0, 0), "share must lie between 0 and 1"),
        (lambda: outliers(labelled(3, 3), 1.0, 0), "share must lie between 0 and 1"),
        (lambda: outliers(labelled(3, 0), 0.5, 0), "both normal images and anomalies"),
        (lambda: outliers(labelled(0, 3, 3), 0.5, 0), "both normal images and anomalies"),
        (lambda: inlier_categories(clutter, 3, "c", 0), "categories must be from 1 to 2, but is 3"),
        (lambda: inlier_categories(clutter, 0, "c", 0), "categories must be from 1 to 2, but is 0"),
        (lambda: inlier_categories(clutter, 1, "z", 0), "no kind 'z'"),
        (lambda: inlier_categories(clutter, 1, "c", 0, first=0), "first must be at least 1"),
        (lambda: inlier_categories(clutter, 1, "c", 0, outlier_share=1.5), "outlier_share"),
        (lambda: inlier_categories(clutter, 1, "c", 0, test_share=0), "test_share"),
        (lambda: few_labels(labelled(1, 3), -1, 0), "from 0 to 3"),
        (lambda: few_labels(labelled(1, 3), 1, 0, ["z"]), "no kind 'z'"),
    ):
        with pytest.raises(UsageError, match=cause):
            call()
