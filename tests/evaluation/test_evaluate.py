"""Evaluation sees only labelled images that the model has not; the promised rate holds on real scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.calibration import Decision
from amiss.data import Collection, Item, open_images
from amiss.data.arrays import array_collection
from amiss.errors import DataError, NotFittedError
from amiss.evaluation.doubts import doubts
from amiss.evaluation.evaluate import evaluate_model
from amiss.metrics import Ranking, evaluate
from amiss.model import FittedModel
from amiss.testing import fitted, task

MEASURES = ("auroc", "aupr", "eer", "f1", "precision", "recall", "best_f1")
REPEATS = 20


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return fitted(amiss.ADACL).model_


def digits(kinds: Sequence[str] | None = None) -> Collection:
    return array_collection(task().unseen, "digits", labels=task().anomalous.tolist(), kinds=kinds)


def measured(model: FittedModel, labelled: Any, **options: Any) -> dict[str, Any]:
    return evaluate_model(model, labelled, repeats=REPEATS, **options).metrics


def save_pictures(folder: Path, pictures: np.ndarray, ending: str = "png") -> None:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:03}.{ending}")


def test_figures_are_those_of_the_scores(model: FittedModel) -> None:
    metrics, result = measured(model, digits()), model.score(task().unseen)
    labels = task().anomalous
    assert metrics["auroc"]["value"] == pytest.approx(float(Ranking(result.scores, labels).auroc()))
    assert metrics["recall"]["value"] == pytest.approx(result.is_anomaly[labels].mean())
    assert metrics["precision"]["value"] == pytest.approx(labels[result.is_anomaly].mean())
    assert metrics["false_alarm_rate"]["achieved"] == pytest.approx(result.is_anomaly[~labels].mean())
    assert metrics["false_alarm_rate"]["promised"] == model.false_alarm_rate
    assert metrics["false_alarm_rate"]["bound95"] == model.decision.upper_rate()
    assert (metrics["n_normal"], metrics["n_anomalous"]) == ((~labels).sum(), labels.sum())
    assert metrics["threshold"] == model.decision.threshold
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_measures_lie_in_their_intervals(model: FittedModel) -> None:
    metrics = measured(model, digits())
    for name in MEASURES:
        assert 0 <= metrics[name]["low"] <= metrics[name]["high"] <= 1
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    rate = metrics["false_alarm_rate"]
    assert rate["low"] <= rate["achieved"] <= rate["high"]


def test_same_seed_same_intervals(model: FittedModel) -> None:
    assert measured(model, digits(), seed=3) == measured(model, digits(), seed=3)
    flipped = np.random.default_rng(0).permutation(task().anomalous)  # labels by chance, so that nothing saturates
    chance = array_collection(task().unseen, "chance", labels=flipped.tolist())
    assert measured(model, chance, seed=3)["auroc"] != measured(model, chance, seed=4)["auroc"]


# -- what is left out --------------------------------------------------------------------------------------------------


def test_images_used_in_fitting_are_left_out_and_counted(model: FittedModel) -> None:
    clean = measured(model, digits())
    images = np.concatenate([task().unseen, task().normal])
    labels = task().anomalous.tolist() + [False] * len(task().normal)
    metrics = measured(model, array_collection(images, "digits", labels=labels))
    used = sum(getattr(model.record.splits, part).count for part in ("train", "stop", "calibrate"))
    assert used == len(task().normal)
    assert metrics["left_out"]["used_to_fit"] == used
    assert any(str(used) in note and "fit" in note for note in metrics["notes"])
    for name in (*MEASURES, "false_alarm_rate", "n_normal", "n_anomalous", "kinds"):
        assert metrics[name] == clean[name]


@pytest.mark.parametrize("part", ["train", "stop", "calibrate"])
def test_a_fitted_image_is_known_again_in_any_file(part: str, model: FittedModel, tmp_path: Path) -> None:
    """By its pixels, whatever the file is called, how it is packed, and what label it bears."""
    digest = getattr(model.record.splits, part).images[0]
    rows = model.rows(open_images(task().normal))
    place = next(index for index, row in enumerate(rows) if row.digest == digest)
    picture = Image.fromarray(task().normal[place])
    save_pictures(tmp_path / "good", task().unseen[:5])
    save_pictures(tmp_path / "seven", task().unseen[-5:])
    picture.save(tmp_path / "good" / "renamed.bmp")
    picture.convert("RGB").save(tmp_path / "seven" / "colour.png")
    picture.save(tmp_path / "good" / "packed.webp", lossless=True)
    metrics = measured(model, tmp_path)
    assert metrics["left_out"]["used_to_fit"] == 3
    assert (metrics["n_normal"], metrics["n_anomalous"]) == (5, 5)


def test_unreadable_and_unlabelled_images_are_left_out_and_counted(model: FittedModel, tmp_path: Path) -> None:
    save_pictures(tmp_path / "good", task().unseen[:6])
    save_pictures(tmp_path / "seven", task().unseen[-5:])
    (tmp_path / "good" / "cut.png").write_bytes(b"\x89PNG")
    Image.fromarray(task().unseen[9]).save(tmp_path / "unlabelled.png")
    metrics = measured(model, tmp_path)
    assert metrics["left_out"] == {"unlabelled": 1, "unreadable": 1, "used_to_fit": 0}
    assert (metrics["n_normal"], metrics["n_anomalous"]) == (6, 5)
    notes = metrics["notes"]
    assert sum("label" in note for note in notes) == 1
    assert sum("could not be read" in note for note in notes) == 1


def test_unlabelled_items_of_a_collection_are_counted(model: FittedModel) -> None:
    items = [*digits(), Item("unknown", lambda: task().unseen[0])]
    assert measured(model, Collection(items, "some"))["left_out"]["unlabelled"] == 1


def test_one_class_alone_is_explained(model: FittedModel, tmp_path: Path) -> None:
    save_pictures(tmp_path / "only-good" / "good", task().unseen[:5])
    save_pictures(tmp_path / "only-bad" / "crack", task().unseen[-5:])
    save_pictures(tmp_path / "flat", task().unseen[:5])
    for folder, words in (("only-good", "anomal"), ("only-bad", "normal"), ("flat", "good")):
        with pytest.raises(DataError) as caught:
            evaluate_model(model, tmp_path / folder)
        assert folder in str(caught.value)
        assert words in str(caught.value)


def test_a_folder_of_what_was_fitted_is_explained(model: FittedModel, tmp_path: Path) -> None:
    save_pictures(tmp_path / "good", task().normal[:7])
    save_pictures(tmp_path / "crack", task().unseen[-5:])
    with pytest.raises(DataError, match="7"):
        evaluate_model(model, tmp_path)


def test_all_unreadable_is_explained(model: FittedModel, tmp_path: Path) -> None:
    for name in ("good/a.png", "crack/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="read"):
        evaluate_model(model, tmp_path)


def test_an_unfitted_detector_says_so() -> None:
    with pytest.raises(NotFittedError, match="fit"):
        evaluate_model(amiss.ADACL().require_fitted(), digits())


# -- kinds, layouts, reports -------------------------------------------------------------------------------------------


def test_kinds_have_their_own_figures(model: FittedModel) -> None:
    labels = task().anomalous
    kinds = ["good" if not bad else ("even" if index % 2 else "odd") for index, bad in enumerate(labels)]
    metrics, scores = measured(model, digits(kinds)), model.score(task().unseen).scores
    assert set(metrics["kinds"]) == {"even", "odd"}
    for kind, found in metrics["kinds"].items():
        keep = np.array([name in ("good", kind) for name in kinds])
        assert found["auroc"]["value"] == pytest.approx(float(Ranking(scores[keep], labels[keep]).auroc()))
        assert set(found) == {*MEASURES, "false_alarm_rate", "n_anomalous"}
        assert found["n_anomalous"] == sum(name == kind for name in kinds)
        assert found["false_alarm_rate"] == metrics["false_alarm_rate"]


def test_mvtec_root_and_its_test_folder_give_the_same(model: FittedModel, tmp_path: Path) -> None:
    save_pictures(tmp_path / "train" / "good", task().normal[:9])
    save_pictures(tmp_path / "test" / "good", task().unseen[:9])
    save_pictures(tmp_path / "test" / "three", task().unseen[-9:])
    save_pictures(tmp_path / "ground_truth" / "three", task().unseen[-9:])
    root, test = measured(model, tmp_path), measured(model, tmp_path / "test")
    assert (root["n_normal"], root["n_anomalous"]) == (9, 9)
    assert set(root["kinds"]) == {"three"}
    for name in (*MEASURES, "false_alarm_rate", "kinds"):
        assert root[name] == test[name]


def test_a_root_with_test_alone_is_that_test(model: FittedModel, tmp_path: Path) -> None:
    """Who evaluates needs no train folder; `test` must not become a kind of defect."""
    save_pictures(tmp_path / "test" / "good", task().unseen[:9])
    save_pictures(tmp_path / "test" / "three", task().unseen[-9:])
    metrics = measured(model, tmp_path)
    assert (metrics["n_normal"], metrics["n_anomalous"]) == (9, 9)
    assert set(metrics["kinds"]) == {"three"}


def test_collecting_changes_no_figure_and_writes_a_page(model: FittedModel, tmp_path: Path) -> None:
    result = evaluate_model(model, digits(), collect=True, repeats=REPEATS)
    assert result.metrics == measured(model, digits())
    assert result.collector is not None
    page = result.collector.write(tmp_path / "new")
    assert page == tmp_path / "new" / "report.html"
    assert f"{result.metrics['auroc']['value']:.3f}" in page.read_text(encoding="utf-8")
    assert evaluate_model(model, digits(), repeats=REPEATS).collector is None


def test_progress_is_told_to_its_end(model: FittedModel) -> None:
    told: list[tuple[str, int, int]] = []
    measured(model, digits(), progress=lambda task, done, total, detail: told.append((task, done, total)))
    assert told[-1] == ("score", len(task().unseen), len(task().unseen))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


# -- the promise -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_scores(model: FittedModel, require_data: Callable[[str], None]) -> np.ndarray:
    """Scores of about 950 real sixes, none of which the detector has seen, in an order of their own."""
    require_data("mnist")
    sixes = [item for item in open_images("mnist:test:normal=6") if not item.anomalous]
    scores = model.score(Collection(sixes)).scores
    assert len(scores) == 958
    assert len(np.unique(scores)) > 0.98 * len(scores)
    return scores


@pytest.mark.parametrize(("alpha", "n"), [(0.1, 99), (0.1, 95), (0.05, 150), (0.02, 49), (0.01, 150), (0.01, 298)])
def test_the_promised_rate_holds_on_real_scores_and_is_used_up(alpha: float, n: int, real_scores: np.ndarray) -> None:
    """Over random divisions into calibration and test, the mean rate is floor(alpha (n + 1)) / (n + 1), no less."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(200):
        order = rng.permutation(len(real_scores))
        decision = Decision(np.sort(real_scores[order[:n]]), alpha)
        assert decision.guaranteed
        flagged = decision.is_anomaly(real_scores[order[n:]])
        np.testing.assert_array_equal(flagged, decision.p_values(real_scores[order[n:]]) <= alpha + 1e-12)
        rates.append(flagged.mean())
    mean, error = float(np.mean(rates)), float(np.std(rates)) / math.sqrt(len(rates))
    used = math.floor(alpha * (n + 1) + 1e-9) / (n + 1)
    assert used <= alpha + 1e-12
    assert mean <= alpha + 4 * error
    assert abs(mean - used) <= 4 * error
    assert error < alpha / 5


def test_with_too_few_calibration_images_the_lowest_rate_is_kept(real_scores: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    n, rates = 30, []
    for _ in range(200):
        order = rng.permutation(len(real_scores))
        decision = Decision(real_scores[order[:n]], 0.01)
        assert not decision.guaranteed
        rates.append(decision.is_anomaly(real_scores[order[n:]]).mean())
    error = float(np.std(rates)) / math.sqrt(len(rates))
    assert abs(np.mean(rates) - 1 / (n + 1)) <= 4 * error


def test_p_values_of_unseen_normals_are_uniform_enough(real_scores: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    means = []
    for _ in range(200):
        order = rng.permutation(len(real_scores))
        p_values = Decision(real_scores[order[:99]], 0.1).p_values(real_scores[order[99:]])
        means.append([(p_values <= alpha).mean() for alpha in (0.05, 0.2, 0.5, 0.8)])
    for alpha, rates in zip((0.05, 0.2, 0.5, 0.8), np.array(means).T, strict=True):
        assert abs(rates.mean() - alpha) <= 4 * rates.std() / math.sqrt(len(rates))


# -- calibration and test never meet -----------------------------------------------------------------------------------


def parts_of(model: FittedModel) -> dict[str, list[str]]:
    return {part: getattr(model.record.splits, part).images for part in ("train", "stop", "calibrate")}


def assert_disjoint(parts: dict[str, list[str]]) -> None:
    names = list(parts)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            assert not set(parts[one]) & set(parts[other]), f"{one} and {other} share pictures"


@pytest.mark.parametrize("name", ["ADACL", "BCAE1"])
def test_parts_are_disjoint_and_hold_no_unseen_image(name: str) -> None:
    model = fitted(getattr(amiss, name)).model_
    parts = parts_of(model)
    assert_disjoint(parts)
    assert sum(map(len, parts.values())) == len(task().normal)
    unseen = {row.digest for row in model.rows(open_images(task().unseen))}
    assert len(unseen) > 200
    for digests in parts.values():
        assert not unseen & set(digests)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_of_one_picture_stay_in_one_part(seed: int) -> None:
    normal = task().normal[:40]
    images = np.concatenate([normal, normal[:25], normal[:10], normal[:5]])
    settings: dict[str, Any] = {"seed": seed, "epochs": 1, "fewest_steps": 1}
    model = amiss.ADACL(**settings).fit(images).model_
    parts = parts_of(model)
    assert_disjoint(parts)
    assert all(parts.values())
    assert len(set(parts["calibrate"])) == len(parts["calibrate"]), "a copy is no further evidence"
    assert len({digest for digests in parts.values() for digest in digests}) == 40


def test_copies_in_the_calibration_part_promise_no_more_than_one() -> None:
    """A folder given twice has no more independent pictures than once."""
    normal = task().normal[:40]
    settings: dict[str, Any] = {"epochs": 1, "fewest_steps": 1, "false_alarm_rate": 0.1}
    once = amiss.ADACL(**settings).fit(normal).decision_
    twice = amiss.ADACL(**settings).fit(np.concatenate([normal, normal])).decision_
    assert once.n == 8
    assert twice.n <= 9
    assert not twice.guaranteed


def test_related_images_are_not_promised_as_independent_ones() -> None:
    """Images of one group are alike: twelve of three groups are no twelve draws (see the contract on frames)."""
    normal = task().normal[:60]
    items = [Item(f"{i}", lambda i=i: normal[i], group=f"tile{i // 4}") for i in range(60)]  # type: ignore[misc]
    settings: dict[str, Any] = {"epochs": 1, "fewest_steps": 1, "false_alarm_rate": 0.1}
    model = amiss.ADACL(**settings).fit(Collection(items)).model_
    assert model.record.splits.calibrate.count == 12
    said = [model.decision.explain(), *model.record.notes]
    assert not model.decision.guaranteed or any("group" in sentence for sentence in said)


def test_images_of_one_group_stay_in_one_part() -> None:
    normal = task().normal[:60]
    items = [
        Item(f"{i}", lambda i=i: normal[i], anomalous=False, group=f"tile{i // 4}")  # type: ignore[misc]
        for i in range(60)
    ]
    settings: dict[str, Any] = {"epochs": 1, "fewest_steps": 1}
    model = amiss.ADACL(**settings).fit(Collection(items)).model_
    parts = parts_of(model)
    assert_disjoint(parts)
    tile_of = {row.digest: row.item.group for row in model.rows(Collection(items))}
    tiles = {part: {tile_of[digest] for digest in digests} for part, digests in parts.items()}
    assert_disjoint({part: [str(tile) for tile in found] for part, found in tiles.items()})


def test_maps_are_measured_against_masks(tmp_path: Path) -> None:
    images = task().unseen[:40].copy()
    marked = images[20:]
    marked[:, 4:8, 6:10] = 255 - marked[:, 4:8, 6:10]
    save_pictures(tmp_path / "test" / "good", images[:20])
    save_pictures(tmp_path / "test" / "spot", marked)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[4:8, 6:10] = 255
    (tmp_path / "ground_truth" / "spot").mkdir(parents=True)
    for index in range(20):
        Image.fromarray(mask).save(tmp_path / "ground_truth" / "spot" / f"{index:03}_mask.png")
    found = measured(fitted(amiss.KNN).model_, tmp_path / "test")["localisation"]
    assert found["pixel_auroc"] > 0.6
    assert 0 < found["au_pro"] < 1
    assert measured(fitted(amiss.ADACL).model_, tmp_path / "test")["localisation"] is None, "it has no map"
    (tmp_path / "ground_truth" / "spot" / "003_mask.png").unlink()
    metrics = measured(fitted(amiss.KNN).model_, tmp_path / "test")
    assert metrics["localisation"] is not None
    assert any("003" in note and "mask" in note for note in metrics["notes"])


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Twelve normal images and fifteen with a spot, of 16 x 16 pixels, with the mask of each."""
    images = task().unseen[:27].copy()
    images[12:, 4:8, 6:10] = 255 - images[12:, 4:8, 6:10]
    save_pictures(tmp_path / "test" / "good", images[:12])
    save_pictures(tmp_path / "test" / "spot", images[12:])
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[4:8, 6:10] = 255
    save_pictures(tmp_path / "ground_truth" / "spot", np.stack([mask] * 15))
    return tmp_path


def test_figures_say_on_how_many_images_they_rest(masked: Path) -> None:
    model = fitted(amiss.KNN).model_
    places = measured(model, masked)["localisation"]
    assert (places["n_normal"], places["n_anomalous"], places["n_without_mask"]) == (12, 15, 0)
    for index in range(10):
        (masked / "ground_truth" / "spot" / f"{index:03}.png").unlink()
    metrics = measured(model, masked)
    assert (metrics["localisation"]["n_anomalous"], metrics["localisation"]["n_without_mask"]) == (5, 10)
    (note,) = [note for note in metrics["notes"] if "mask" in note]
    assert "10 of 15 anomalies have no mask that can be read" in note
    assert "the other 5" in note


@pytest.mark.parametrize("shape", [(16, 24), (24, 16)])
def test_a_mask_of_another_shape_names_both(masked: Path, shape: tuple[int, int]) -> None:
    """Stretched to fit, it would measure other places than it means."""
    path = masked / "ground_truth" / "spot" / "007.png"
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"spot/007\.png is .* and .*test/spot/007\.png is 16 wide and 16 high"):
        measured(fitted(amiss.KNN).model_, masked)
    images = open_images(masked, "eval")
    with pytest.raises(DataError, match="cannot be its mask"):  # images in memory have no file to look at before
        measured(fitted(amiss.KNN).model_, Collection([replace(item, name=f"{i}") for i, item in enumerate(images)]))


def test_a_mask_of_another_size_is_scaled(masked: Path) -> None:
    before = measured(fitted(amiss.KNN).model_, masked)["localisation"]
    for path in (masked / "ground_truth" / "spot").iterdir():
        large = Image.open(path).resize((48, 48), Image.Resampling.NEAREST)
        large.save(path)
    assert measured(fitted(amiss.KNN).model_, masked)["localisation"] == before


def test_masks_that_mark_nothing_are_told(masked: Path) -> None:
    for index in (3, 4):
        Image.new("L", (16, 16)).save(masked / "ground_truth" / "spot" / f"{index:03}.png")
    notes = measured(fitted(amiss.KNN).model_, masked)["notes"]
    assert any("masks of 2 of 15 anomalies mark nothing" in note for note in notes)


# -- figures that cannot be chance -------------------------------------------------------------------------------------


def test_swapped_labels_are_told_in_words(model: FittedModel) -> None:
    assert measured(model, digits())["warnings"] == []
    swapped = array_collection(task().unseen, "swapped", labels=(~task().anomalous).tolist())
    warnings = measured(model, swapped)["warnings"]
    assert any("labels swapped" in sentence for sentence in warnings)
    assert any("normal images are flagged" in sentence for sentence in warnings)


def test_a_kind_that_looks_more_normal_than_normal_is_told(model: FittedModel) -> None:
    """Half of the anomalies are among the most normal images."""
    scores = model.score(task().unseen).scores
    order = np.argsort(scores)
    labels = np.zeros(len(order), dtype=bool)
    labels[order[:30]] = labels[order[-60:]] = True
    kinds = np.where(np.isin(np.arange(len(order)), order[:30]), "calm", "odd").tolist()
    warnings = measured(model, array_collection(task().unseen, "some", labels=labels.tolist(), kinds=kinds))["warnings"]
    assert any("of the kind calm (AUROC 0.000) score lower" in sentence for sentence in warnings)


def test_what_chance_does_is_not_told() -> None:
    """Of honest normal scores, in evaluations of 60 images, less than one of a hundred is called wrong."""
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(300):
        scores = rng.normal(size=150 + 60).astype(np.float32)
        decision = Decision(scores[:150], 0.02)
        flags = np.append(decision.is_anomaly(scores[150:]), [True] * 10)
        labels = np.arange(70) >= 60
        tests = np.append(scores[150:], np.full(10, 9, np.float32))
        metrics = evaluate(tests, flags, labels, promised=0.02, repeats=1)
        told += bool(doubts(decision, metrics, flags, labels, ["x"] * 70, range(70)))
    assert told <= 3
    flags[:12] = True
    (sentence,) = doubts(
        decision, evaluate(tests, flags, labels, promised=0.02, repeats=1), flags, labels, ["x"] * 70, range(70)
    )
    assert "where 2 % was promised" in sentence
    assert doubts(replace(decision, groups=3), metrics, flags, labels, ["x"] * 70, range(70)) == []
    assert not doubts(decision, metrics, flags, labels, ["x"] * 70, [0] * 60 + list(range(1, 11))), (
        "one group is one case"
    )


def test_pictures_unlike_those_learnt_from_are_told(model: FittedModel) -> None:
    dark = array_collection(task().unseen // 8, "dark", labels=task().anomalous.tolist())
    (note,) = (note for note in measured(model, dark)["notes"] if "unlike those learnt from" in note)
    assert note.startswith(f"{len(dark)} images look unlike those learnt from; the first, dark[0]: unlike the images")
    assert not any("unlike" in note for note in measured(model, digits())["notes"])
