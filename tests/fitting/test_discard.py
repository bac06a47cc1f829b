"""Leaving out the strangest training images before the real fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.errors import UsageError
from amiss.testing import task


@pytest.fixture(scope="module")
def impure() -> tuple[np.ndarray, np.ndarray]:
    """Normal images with 10 % of anomalies among them, and which these are."""
    normal, bad = task().normal, task().unseen[task().anomalous]
    count = len(normal) // 9
    images = np.concatenate([normal, bad[:count]])
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], order >= len(normal)


def test_most_of_what_is_left_out_are_anomalies(impure: tuple[np.ndarray, np.ndarray]) -> None:
    images, bad = impure
    detector = amiss.KNN(calibration="split", discard=0.1).fit(images)
    left_out = detector.splits_["discarded"]
    assert left_out["count"] == pytest.approx(0.1 * 0.7 * len(images), abs=2)
    names = [item.name for item in amiss.open_images(images)]
    numbers = [names.index(name) for name in left_out["names"]]
    assert bad[numbers].mean() > 0.6, "a tenth of the images is bad"
    assert any("left out" in note for note in detector.notes_)


def test_it_wins_back_what_impurity_costs(impure: tuple[np.ndarray, np.ndarray]) -> None:
    images, bad = impure
    unseen = np.concatenate([task().unseen, images[bad]])
    anomalous = np.concatenate([task().anomalous, np.ones(int(bad.sum()), bool)])
    auroc = {
        share: amiss.metrics.Ranking(amiss.KNN(discard=share).fit(images).score(unseen).scores, anomalous).auroc()
        for share in (0.0, 0.15)
    }
    assert auroc[0.15] > auroc[0.0]


def test_parts_stay_apart_and_copies_together() -> None:
    images = np.concatenate([task().normal, task().normal[:40]])
    parts = amiss.PCA(calibration="split", discard=0.2).fit(images).splits_
    digests = [set(parts[name]["images"]) for name in ("train", "discarded", "stop", "calibrate")]
    for number, one in enumerate(digests):
        for other in digests[number + 1 :]:
            assert not one & other


def test_what_was_left_out_is_saved_and_not_evaluated_on(tmp_path: Path) -> None:
    normal = task().normal
    detector = amiss.PCA(discard=0.1).fit(normal)
    loaded = amiss.load(detector.save(tmp_path / "model.amiss"))
    assert loaded.record.splits.discarded == detector.model_.record.splits.discarded
    assert "discarded" not in amiss.PCA().fit(normal).splits_


def test_an_interrupted_fit_goes_on_to_the_same_result(tmp_path: Path) -> None:
    images = task().normal
    settings = {"discard": 0.1, "epochs": 2, "fewest_steps": 2}
    whole = amiss.ADACL(**settings).fit(images)

    class StopError(Exception):
        pass

    def interrupt(task_name: str, done: int, total: int, detail: str) -> None:
        if task_name.startswith("half 2") and done:
            raise StopError

    with pytest.raises(StopError):
        amiss.ADACL(**settings).fit(images, work_dir=tmp_path, progress=interrupt)
    resumed = amiss.ADACL(**settings).fit(images, work_dir=tmp_path, resume=True)
    assert resumed.splits_["discarded"] == whole.splits_["discarded"]
    np.testing.assert_array_equal(resumed.score(images[:20]).scores, whole.score(images[:20]).scores)


def test_more_than_half_is_refused() -> None:
    with pytest.raises(UsageError, match="discard"):
        amiss.PCA(discard=0.6).fit(task().normal)
