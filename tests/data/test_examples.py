"""The example: places that do not overlap, an order by chance alone, and a folder that the other commands read."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amiss.data import open_images
from amiss.data.examples import FALSE_ALARM_RATE, SURFACES, Example, make_example
from amiss.data.masks import read_mask
from amiss.data.preprocessing import Preprocessing
from amiss.errors import DataError, UsageError


@pytest.fixture(scope="module")
def gravel() -> Example:
    return make_example("gravel", seed=0)


def similar(pictures: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, m) the highest correlation of two pictures however one is turned and mirrored."""
    turned = [np.rot90(each, turns, (1, 2)) for each in (others, others[:, :, ::-1]) for turns in range(4)]

    def standardised(stack: NDArray[np.uint8]) -> NDArray[np.float64]:
        flat = stack.reshape(len(stack), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    return np.max([standardised(pictures) @ standardised(each).T for each in turned], axis=0)


def test_learnt_and_tested_places_are_different_ones(gravel: Example) -> None:
    defective = np.concatenate([pictures for pictures, _ in gravel.defective.values()])
    assert similar(gravel.good, gravel.learnt).max() < 0.6
    assert similar(defective, gravel.learnt).max() < 0.6
    assert similar(gravel.good, gravel.good)[~np.eye(49, dtype=bool)].max() < 0.6
    shown_twice = similar(defective, gravel.good).max(axis=1)  # the measure recognises a place, even with a defect
    assert np.median(shown_twice) > 0.9


def test_the_promise_can_be_given(gravel: Example) -> None:
    assert 0.2 * len(gravel.learnt) >= (1 / FALSE_ALARM_RATE - 1)


def test_a_seed_means_the_same_pictures(gravel: Example) -> None:
    again, other = make_example("gravel", seed=0), make_example("gravel", seed=1)
    np.testing.assert_array_equal(again.learnt, gravel.learnt)
    for kind, (pictures, masks) in gravel.defective.items():
        np.testing.assert_array_equal(again.defective[kind][0], pictures)
        np.testing.assert_array_equal(again.defective[kind][1], masks)
    assert (other.learnt != gravel.learnt).any()


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_good_pictures_are_flagged_as_rarely_as_promised(surface: str) -> None:
    flagged = []
    for seed in range(30):
        example = make_example(surface, seed)
        scores = [each.std(axis=(1, 2)) for each in (example.learnt[:19], example.good)]
        flagged.append((scores[1] > scores[0].max()).mean())  # p = 1/20 at most
    error = np.std(flagged, ddof=1) / len(flagged) ** 0.5
    assert abs(np.mean(flagged) - FALSE_ALARM_RATE) < 3 * error


def test_what_is_written_is_read_with_labels_and_masks(gravel: Example, tmp_path: Path) -> None:
    for _ in range(2):  # an earlier example is written over
        gravel.write(tmp_path / "gravel")
    learnt, test = open_images(tmp_path / "gravel/good", "fit"), open_images(tmp_path / "gravel/test", "eval")
    np.testing.assert_array_equal(np.stack([item.read() for item in learnt]), gravel.learnt)
    assert test.labels().sum() == len(test) - test.labels().sum() == 49
    for kind, (pictures, masks) in gravel.defective.items():
        items = [item for item in test if item.kind == kind]
        np.testing.assert_array_equal(np.stack([item.read() for item in items]), pictures)
        size = Preprocessing("gray", *masks.shape[1:])
        for item, mask in zip(items, masks, strict=True):
            assert item.mask is not None
            np.testing.assert_array_equal(read_mask(item.mask, size), mask)
    assert "drawn in by us" in (tmp_path / "gravel/about.txt").read_text(encoding="utf-8")


def test_a_folder_of_others_is_left_alone(gravel: Example, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "000.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="new folder"):
        gravel.write(tmp_path)
    assert (tmp_path / "good" / "000.png").read_bytes() == b"mine"


def test_an_unknown_surface_is_told() -> None:
    with pytest.raises(UsageError, match="marble"):
        make_example("marble", seed=0)


def test_a_missing_photograph_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"brick\.png is missing; install scikit-image anew"):
        make_example("brick", seed=0)
