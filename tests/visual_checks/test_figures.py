"""The papers' visual checks: they draw what they say, and refuse what has nothing to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss import visual_checks
from amiss.data import Collection, Item
from amiss.errors import NotFittedError, UsageError
from amiss.testing import fitted, task

pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
QUICK = {"filters": "8,8,8", "epochs": 2}


@pytest.fixture(scope="module")
def labelled() -> Collection:
    images = np.concatenate([task().unseen[:30], task().unseen[-30:]])
    items = [
        Item(
            str(number),
            lambda number=number: images[number],
            kind="6" if number < 30 else "other",
            anomalous=number >= 30,
        )  # type: ignore[misc]
        for number in range(60)
    ]
    return Collection(items, "digits")


def test_reconstructions_have_a_row_for_every_path(labelled: Collection) -> None:
    assert len(visual_checks.reconstructions(fitted(amiss.BCAE1), labelled, 5).axes) == 3 * 5
    assert len(visual_checks.reconstructions(fitted(amiss.ALPS), labelled, 5).axes) == 4 * 5
    with pytest.raises(UsageError, match="ADACL does not reconstruct"):
        visual_checks.reconstructions(fitted(amiss.ADACL), labelled)


def test_histograms_hold_both_classes(labelled: Collection) -> None:
    (axis,) = visual_checks.score_histograms(fitted(amiss.BCAE1), labelled).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["normal", "anomalous", "threshold"]


def test_auroc_by_epoch_needs_validation(labelled: Collection) -> None:
    detector = amiss.BCAE1(**QUICK).fit(task().normal[:40], validation=labelled)
    (axis,) = visual_checks.auroc_by_epoch({"BCAE1": detector}).axes
    assert len(axis.lines[0].get_ydata()) == 2
    with pytest.raises(UsageError, match="without validation"):
        visual_checks.auroc_by_epoch({"PCA": fitted(amiss.PCA)})


def test_embeddings_of_several_detectors(labelled: Collection) -> None:
    figure = visual_checks.embeddings({"BCAE1": fitted(amiss.BCAE1), "Deep SVDD": fitted(amiss.DeepSVDD)}, labelled)
    assert [axis.get_title() for axis in figure.axes] == ["BCAE1", "Deep SVDD"]
    with pytest.raises(UsageError, match="no codes"):
        visual_checks.embeddings({"PCA": fitted(amiss.PCA)}, labelled)


def test_the_svdd_grid_starts_where_the_autoencoder_ended(labelled: Collection) -> None:
    aurocs, before = visual_checks.svdd_ablation(task().normal[:60], labelled, (0.0, 1e-2), 3, **QUICK)
    assert aurocs.shape == (2, 3)
    np.testing.assert_allclose(aurocs[0], before, atol=1e-3)  # a learning rate of zero changes nothing
    assert not np.allclose(aurocs[1], before, atol=1e-4)
    assert len(visual_checks.svdd_grid(aurocs, before, (0.0, 1e-2)).axes[0].lines) == 3


def test_generated_samples_by_epoch(tmp_path: Path) -> None:
    detector = amiss.G2D(filters="16,8", epochs=3, detector_epochs=1, fewest_steps=2).fit(
        task().normal[:40], work_dir=tmp_path
    )
    made = visual_checks.generated(detector, tmp_path, [0, 2], 8)
    assert made.shape == (2, 8, 1, 16, 16)
    assert not np.array_equal(made[0], made[1])
    figure = visual_checks.generated_by_epoch(detector, tmp_path, task().normal[:40], [0, 2])
    assert len(figure.axes) == 2 * 6 + 1
    with pytest.raises(UsageError, match="epoch 9"):
        visual_checks.generated(detector, tmp_path, [9])


def test_attention_maps_and_activations(labelled: Collection) -> None:
    assert len(visual_checks.attention_maps(fitted(amiss.SSACAE), labelled, 4).axes) == 12
    with pytest.raises(UsageError, match="gate=ssa"):
        visual_checks.attention_maps(fitted(amiss.BCAE1), labelled)
    assert len(visual_checks.first_layer_activations(fitted(amiss.BCAE1), labelled, 3, 4).axes) == 15


def test_a_detector_stands_for_the_model_that_it_has_learnt(labelled: Collection, tmp_path: Path) -> None:
    detector = fitted(amiss.BCAE1)
    loaded = amiss.load(detector.save(tmp_path / "model.amiss"))
    images = task().unseen[:6, None]
    codes = [visual_checks.codes_of(model, images) for model in (detector, detector.model_, loaded)]
    np.testing.assert_array_equal(codes[1], codes[0])
    np.testing.assert_allclose(codes[2], codes[0], atol=1e-5)  # float32, whose layout in memory differs
    assert len(visual_checks.reconstructions(loaded, labelled, 3).axes) == 3 * 3
    with pytest.raises(NotFittedError, match="not fitted"):
        visual_checks.score_histograms(amiss.BCAE1(), labelled)
