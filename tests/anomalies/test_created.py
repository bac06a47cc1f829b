"""Created anomalies against plain NumPy, and what each promises (thesis 4.3.4)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.anomalies.created import CREATORS, create_anomalies, cut_paste, mix_up, puzzle, rotation


def numbered(n: int, height: int, width: int) -> torch.Tensor:
    """Every pixel of every image has a value of its own, so that it can be traced."""
    return torch.arange(n * height * width, dtype=torch.float32).view(n, 1, height, width) / (n * height * width)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(8, 40), width=st.integers(8, 40))
def test_cut_paste_moves_one_patch_of_the_image_and_nothing_else(seed: int, height: int, width: int) -> None:
    images = numbered(5, height, width)
    created = cut_paste(images, generator(seed))
    for before, after in zip(images[:, 0].numpy(), created[:, 0].numpy(), strict=True):
        rows, columns = np.nonzero(before != after)
        assert len(rows), "nothing changed"
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert bottom - top <= max(2, 0.7 * height)
        assert right - left <= max(2, 0.7 * width)
        source = np.argwhere(before == after[top, left])[0]
        patch = before[source[0] : source[0] + bottom - top, source[1] : source[1] + right - left]
        np.testing.assert_array_equal(after[top:bottom, left:right], patch)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 12), (11, 7)])
def test_puzzle_is_a_permutation_of_the_quarters_but_never_the_identity(height: int, width: int) -> None:
    images = numbered(64, height, width)
    created = puzzle(images, generator())
    top, left = height // 2, width // 2
    corners = [np.s_[:top, :left], np.s_[:top, -left:], np.s_[-top:, :left], np.s_[-top:, -left:]]
    found = set()
    for before, after in zip(images[:, 0].numpy(), created[:, 0].numpy(), strict=True):
        matching = [
            order
            for order in itertools.permutations(range(4))
            if all(np.array_equal(after[corners[i]], before[corners[order[i]]]) for i in range(4))
        ]
        assert len(matching) == 1
        assert matching[0] != (0, 1, 2, 3)
        found.add(matching[0])
    assert len(found) > 10


def test_rotation_is_by_90_or_270_degrees() -> None:
    images = numbered(32, 8, 8)
    turns = set()
    for before, after in zip(images[:, 0].numpy(), rotation(images, generator())[:, 0].numpy(), strict=True):
        matching = [k for k in range(4) if np.array_equal(after, np.rot90(before, k))]
        turns.update(matching)
        assert len(matching) == 1
    assert turns == {1, 3}


def test_a_rotated_non_square_image_keeps_its_shape_and_range() -> None:
    images = torch.rand(6, 3, 12, 20)
    turned = rotation(images, generator())
    assert turned.shape == images.shape
    assert turned.min() >= 0
    assert turned.max() <= 1


def test_mix_up_weighs_the_image_and_its_rotation() -> None:
    images = torch.rand(32, 1, 8, 8)
    mixed = mix_up(images, generator())
    for before, after in zip(images[:, 0].numpy(), mixed[:, 0].numpy(), strict=True):
        fits = []
        for turns in (1, 3):
            turned = np.rot90(before, turns)
            weight = ((after - turned) * (before - turned)).sum() / ((before - turned) ** 2).sum()
            fits.append((np.abs(weight * before + (1 - weight) * turned - after).max(), weight))
        error, weight = min(fits)
        assert error < 1e-5
        assert 0.3 <= weight <= 0.7 + 1e-5


@pytest.mark.parametrize("kind", list(CREATORS))
def test_same_generator_same_anomalies_and_input_untouched(kind: str) -> None:
    images = torch.rand(8, 3, 10, 14)
    before = images.clone()
    first = create_anomalies(images, generator(3), [kind])
    assert torch.equal(first, create_anomalies(images, generator(3), [kind]))
    assert not torch.equal(first, create_anomalies(images, generator(4), [kind]))
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert (first != images).flatten(1).any(dim=1).all(), "an anomaly equals its normal image"
