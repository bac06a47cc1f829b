"""No image, no group and no copy of an image is in two parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data.splits import MOST_CALIBRATION, split_folds, split_normals
from amiss.errors import DataError

groups_and_digests = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from("abcdefgh")), st.integers(0, 40).map(str)), min_size=8, max_size=80
)


@given(pairs=groups_and_digests, seed=st.integers(0, 5))
def test_parts_are_disjoint_whole_and_never_empty(pairs: list[tuple[str | None, str]], seed: int) -> None:
    groups, digests = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    try:
        splits = split_normals(groups, digests, seed)
    except DataError:
        assert _components(pairs) < 3
        return
    parts = [splits.train, splits.stop, splits.calibrate]
    assert all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(pairs)))
    for values in (groups, digests):
        owners = [{values[index] for index in part if values[index] is not None} for part in parts]
        assert not owners[0] & owners[1]
        assert not owners[0] & owners[2]
        assert not owners[1] & owners[2]


@given(alike=st.lists(st.integers(0, 30), min_size=40, max_size=80), seed=st.integers(0, 5))
def test_what_is_alike_stays_together_where_enough_groups_are_left(alike: list[int], seed: int) -> None:
    n = len(alike)
    folds = split_folds([None] * n, [str(index) for index in range(n)], seed, alike)
    assert sorted(np.concatenate(folds).tolist()) == list(range(n))
    if len(set(alike)) >= 10:
        owners = [{alike[index] for index in fold} for fold in folds]
        assert sum(len(each) for each in owners) == len(set(alike))
    else:
        assert [len(fold) for fold in folds] == [len(part) for part in np.array_split(range(n), 10)]


def _components(pairs: list[tuple[str | None, str]]) -> int:
    """Unrelated sets of images, counted by merging sets until nothing changes."""
    sets = [{("digest", digest)} | ({("group", group)} if group else set()) for group, digest in pairs]
    merged = True
    while merged:
        merged = False
        for left, right in itertools.combinations(range(len(sets)), 2):
            if sets[left] & sets[right]:
                sets[left] |= sets.pop(right)
                merged = True
                break
    return len(sets)


def test_shares() -> None:
    splits = split_normals([None] * 1000, [str(i) for i in range(1000)])
    assert [len(part) for part in (splits.train, splits.stop, splits.calibrate)] == [700, 100, 200]
    large = split_normals([None] * 20_000, [str(i) for i in range(20_000)])
    assert len(large.calibrate) == MOST_CALIBRATION


def test_one_huge_group_trains() -> None:
    groups = ["huge"] * 600 + [f"item {i // 4}" for i in range(400)]
    for seed in range(20):
        splits = split_normals(groups, [str(i) for i in range(1000)], seed)
        assert 180 <= len(splits.calibrate) <= 200
        assert 80 <= len(splits.stop) <= 100


def test_seed_decides() -> None:
    digests = [str(i) for i in range(50)]
    first = split_normals([None] * 50, digests, 0)
    np.testing.assert_array_equal(first.calibrate, split_normals([None] * 50, digests, 0).calibrate)
    assert not np.array_equal(first.calibrate, split_normals([None] * 50, digests, 1).calibrate)


def test_too_little_is_explained() -> None:
    with pytest.raises(DataError, match="at least 8"):
        split_normals([None], ["a"])
    with pytest.raises(DataError, match="group"):
        split_normals(["x"] * 20, [str(i) for i in range(20)])
    with pytest.raises(DataError, match="identical"):
        split_normals([None] * 20, ["same"] * 20)
