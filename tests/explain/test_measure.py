"""Measures of explanations, against scikit-learn and against what must come out."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, jaccard_score

import amiss
from amiss import BCAE1, PCA, FrameDifference
from amiss.data import Collection
from amiss.errors import DataError, UsageError
from amiss.explain.explainer import Attribution, Question
from amiss.explain.explainers.residual import Residual
from amiss.explain.measure import measure_explanations
from amiss.metrics.explanations import agreement_with_masks, area_above, rank_correlation
from amiss.testing.videos import crossing

pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
SIDE = 16


def test_agreement_with_masks_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((9, 11)) < 0.2 for _ in range(3)]
    maps = [(mask + rng.normal(0, 0.7, mask.shape)).astype(np.float32).round(1) for mask in masks]
    found = agreement_with_masks(maps, masks)
    values, inside = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert found["average_precision"] == pytest.approx(average_precision_score(inside, values))
    assert found["best_iou"] == pytest.approx(max(jaccard_score(inside, values >= t) for t in np.unique(values)))
    assert 0 <= found["pointing"] <= 1


def test_a_perfect_and_a_reversed_map() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:5] = True
    perfect = agreement_with_masks([mask.astype(np.float32)], [mask])
    assert all(value == pytest.approx(1) for value in perfect.values())
    reversed_ = agreement_with_masks([1 - mask.astype(np.float32)], [mask])
    assert reversed_["pixel_auroc"] == 0
    assert reversed_["pointing"] == 0


def test_curves_and_correlations() -> None:
    shares = np.linspace(0, 1, 11)
    assert area_above(shares, (4 - 2 * shares).astype(np.float32), 2) == pytest.approx(1)
    rng = np.random.default_rng(0)
    one = rng.random((6, 6)).astype(np.float32)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros((6, 6), np.float32)) == 0


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MVTec-style tree: slopes in noise, bright spots, and masks of some of them."""
    root = tmp_path_factory.mktemp("slopes")
    rng = np.random.default_rng(0)

    def slope() -> np.ndarray:
        return np.rint(np.linspace(80, 160, SIDE)[None] + rng.normal(0, 6, (SIDE, SIDE))).clip(0, 255).astype(np.uint8)

    for folder, count in (("train/good", 150), ("test/good", 10), ("test/spot", 6)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            image, mask = slope(), np.zeros((SIDE, SIDE), np.uint8)
            if folder == "test/spot":
                row, column = rng.integers(1, SIDE - 5, 2)
                image[row : row + 4, column : column + 4] = 250
                mask[row : row + 4, column : column + 4] = 255
                (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / f"ground_truth/spot/{number}_mask.png")
            Image.fromarray(image).save(root / folder / f"{number}.png")
    return root


def test_good_explanations_measure_well(tree: Path) -> None:
    detector = PCA(false_alarm_rate=0.05).fit(tree)
    told: list[int] = []
    rows = measure_explanations(
        detector.model_,
        amiss.open_images(tree, "eval"),
        ["residual", "occlusion"],
        images=4,
        progress=lambda task, done, total, detail: told.append(done),
    )
    assert told == list(range(1, 9))
    for row in rows:
        assert row["images"] == row["with_masks"] == 4
        assert row["pixel_auroc"] > 0.9
        assert row["pointing"] == 1
        assert row["deletion"] < 0.3 < 0.7 < row["insertion"]
        assert row["stability"] > 0.3
        assert row["made_normal"] is not None
        assert row["milliseconds"] > 0
    assert rows[0]["passes"] == 1 < rows[1]["passes"]


def test_an_explanation_that_ignores_the_weights_is_called_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = BCAE1(epochs=2, filters="8,8").fit(tree)
    collection = amiss.open_images(tree, "eval")
    (honest,) = measure_explanations(detector.model_, collection, ["residual"], images=3)

    def brightness(self: Residual, question: Question) -> Attribution:
        return Attribution(question.image.mean(axis=0))

    monkeypatch.setattr(Residual, "attribute", brightness)
    (indifferent,) = measure_explanations(detector.model_, collection, ["residual"], images=3)
    assert indifferent["shuffled"] == pytest.approx(1)
    assert indifferent["indifferent"]
    assert honest["shuffled"] < 0.99


def test_of_equally_high_pixels_a_share_counts() -> None:
    attribution, mask = np.zeros((20, 20), np.float32), np.zeros((20, 20), bool)
    attribution[5:15, 5:15] = 1
    mask[6:13, 6:13] = True
    assert agreement_with_masks([attribution], [mask])["pointing"] == pytest.approx(0.49)


def test_clips_are_those_of_scoring() -> None:
    """Clips of anomalous frames hold the frames before them, normal or not."""
    steps = [1] * 20 + [12] * 4 + [1] * 10
    detector = FrameDifference(false_alarm_rate=0.1).fit(crossing(1, 200))
    frames = [
        dataclasses.replace(item, anomalous=20 <= number < 24)
        for number, item in enumerate(amiss.open_images(crossing(steps)[None]))
    ]
    seen = []

    def told(self: Residual, question: Question) -> Attribution:
        seen.append(float(detector.engine_.run(question.image[None]).scores[0]))
        return Attribution(np.ones(question.size, np.float32))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Residual, "attribute", told)
        measure_explanations(detector.model_, Collection(frames, "hall"), ["residual"], images=4)
    scores = detector.score(crossing(steps)[None]).scores[20:24]
    assert {float(score) for score in scores} <= set(seen)


def test_anomalies_that_cannot_be_read_are_counted(tree: Path, tmp_path: Path) -> None:
    detector = PCA().fit(tree)
    shutil.copytree(tree, tmp_path / "tree")
    (tmp_path / "tree/test/spot/2.png").write_bytes(b"no picture")
    (row,) = measure_explanations(detector.model_, amiss.open_images(tmp_path / "tree", "eval"), ["residual"])
    assert (row["images"], row["unreadable"]) == (5, 1)


def test_all_means_all_that_suit(tree: Path) -> None:
    detector = PCA().fit(tree)
    names = [row["explainer"] for row in measure_explanations(
        detector.model_, amiss.open_images(tree, "eval"), ["all"], images=1)]  # fmt: skip
    assert "residual" in names
    assert "lrp" not in names
    with pytest.raises(UsageError, match="LRP has no rule"):
        measure_explanations(detector.model_, amiss.open_images(tree, "eval"), ["lrp"])
    with pytest.raises(DataError, match="no labelled anomaly"):
        measure_explanations(detector.model_, amiss.open_images(tree, "eval").normal, ["all"])
