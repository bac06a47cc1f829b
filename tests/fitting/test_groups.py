"""Images that belong together: one draw per group, calibrated by its largest score, from the fit to the file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.calibration import Decision
from amiss.data import Collection, Item
from amiss.errors import ModelFileError
from amiss.evaluation.evaluate import evaluate_model
from amiss.model import FittedModel
from amiss.model.archive import read_manifest
from amiss.service.teaching import teach
from amiss.testing import task
from amiss.testing.videos import crossing

#: Images of a group.
SIZE = 2


def grouped(images: np.ndarray, anomalous: bool | None = None) -> Collection:
    """Pairs of images, one after the other."""
    return Collection(
        [
            Item(f"{index}", lambda index=index: images[index], anomalous=anomalous, group=f"item {index // SIZE}")  # type: ignore[misc]
            for index in range(len(images))
        ]
    )


@pytest.fixture(scope="module")
def model() -> FittedModel:
    """Ten of fifty groups calibrate: enough for 10 %, too few for 1 %."""
    return amiss.PCA(calibration="split", false_alarm_rate=0.1).fit(grouped(task().normal[:100])).model_


def largest_by_hand(model: FittedModel) -> list[float]:
    """The largest score of each calibration group, from the images themselves."""
    named = [int(name) for name in model.record.splits.calibrate.names or []]
    scores = model.score(task().normal[named]).scores
    found: dict[int, float] = {}
    for index, score in zip(named, scores, strict=True):
        found[index // SIZE] = max(float(score), found.get(index // SIZE, -np.inf))
    return list(found.values())


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_each_group_is_one_draw_on_every_engine(engine: str, model: FittedModel) -> None:
    model = model.on(engine)
    decision = model.decision
    assert (decision.by_group, decision.guaranteed, decision.n, decision.groups) == (True, True, 10, 10)
    assert len(decision.calibration) == model.record.splits.calibrate.count == 20
    np.testing.assert_allclose(decision.draws, largest_by_hand(model), rtol=1e-5)
    assert decision.threshold == np.sort(decision.draws)[-1]


def test_fewer_groups_than_it_takes_promise_nothing_and_decide_by_single_images(model: FittedModel) -> None:
    decision = model.with_false_alarm_rate(0.05).decision
    assert (decision.by_group, decision.guaranteed, decision.n) == (False, False, 20)
    assert decision.threshold == np.sort(decision.calibration)[-1]
    assert "takes 19 groups, and 10 can promise 9.09 %" in decision.explain()


def test_the_file_keeps_the_groups(model: FittedModel, tmp_path: Path) -> None:
    path = model.save(tmp_path / "part.amiss")
    part = read_manifest(path)["splits"]["calibrate"]
    assert part["groups"] == 10
    assert part["group_names"] == [f"item {int(name) // SIZE}" for name in part["names"]]
    for engine in ("torch", "onnxruntime"):
        loaded, here = amiss.load(path, engine).decision, model.on(engine).decision
        assert loaded.explain() == here.explain()
        assert loaded.threshold == here.threshold


def edited(path: Path, change: Any) -> Path:
    """The same model file with another manifest."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    change(manifest)
    other = path.with_name("edited.amiss")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in {**parts, "manifest.json": json.dumps(manifest)}.items():
            archive.writestr(name, content)
    return other


def test_a_file_from_before_decides_as_it_did(model: FittedModel, tmp_path: Path) -> None:
    """It holds sorted scores, and how many groups there were."""

    def as_before(manifest: dict[str, Any]) -> None:
        del manifest["splits"]["calibrate"]["group_names"]
        manifest["calibration"] = {name: sorted(scores) for name, scores in manifest["calibration"].items()}

    old = amiss.load(edited(model.save(tmp_path / "part.amiss"), as_before)).decision
    as_it_was = Decision(old.calibration, 0.1, 10)
    assert (old.guaranteed, old.n, old.threshold) == (False, 20, as_it_was.threshold)
    assert old.explain() == as_it_was.explain()
    assert old.upper_rate() is None


def test_groups_of_another_number_of_images_are_refused(model: FittedModel, tmp_path: Path) -> None:
    def shortened(manifest: dict[str, Any]) -> None:
        manifest["splits"]["calibrate"]["group_names"].pop()

    with pytest.raises(ModelFileError, match="groups"):
        amiss.load(edited(model.save(tmp_path / "part.amiss"), shortened))


def test_images_that_stand_alone_are_as_they_were(tmp_path: Path) -> None:
    path = amiss.PCA(calibration="split", false_alarm_rate=0.1).fit(task().normal[:60]).save(tmp_path / "part.amiss")
    part = read_manifest(path)["splits"]["calibrate"]
    assert part["groups"] is part["group_names"] is None
    assert not amiss.load(path).decision.by_group


def test_blocks_of_a_few_videos_promise_nothing_however_many_there_are() -> None:
    """At half, two blocks would be enough, but those of one video are no separate draws."""
    videos = np.stack([crossing(1, 200, seed=seed) for seed in range(2)])
    model = amiss.PCA(calibration="split", false_alarm_rate=0.5).fit(videos).model_
    part = model.record.splits.calibrate
    assert part.groups is not None
    assert part.groups >= model.decision.images_needed
    assert part.group_names is None
    assert not model.decision.guaranteed
    assert model.decision.upper_rate() is None


def test_whole_videos_are_draws() -> None:
    videos = np.stack([crossing(1, 12, seed=seed) for seed in range(20)])
    decision = amiss.PCA(calibration="split", false_alarm_rate=0.25).fit(videos).decision_
    assert (decision.by_group, decision.n) == (True, 4)
    assert "of normal videos have any flagged frame" in decision.explain()


def test_eval_counts_groups_too(model: FittedModel) -> None:
    normal, anomalous = task().unseen[~task().anomalous][:40], task().unseen[task().anomalous][:40]
    bad = [replace(item, name=f"bad {item.name}") for item in grouped(anomalous, True)]
    metrics = evaluate_model(model, Collection([*grouped(normal, False), *bad]), repeats=10).metrics
    flags = model.score(normal).is_anomaly.reshape(-1, SIZE)
    assert metrics["false_alarm_rate_of_groups"]["n"] == 20, "of groups with defects, too, their normal images count"
    assert metrics["false_alarm_rate_of_groups"]["achieved"] == flags.any(axis=1).mean()
    assert metrics["false_alarm_rate"]["achieved"] == flags.mean()
    assert metrics["decision"] == model.decision.to_dict()
    loose = evaluate_model(model.with_false_alarm_rate(0.05), Collection([*grouped(normal, False), *bad]), repeats=10)
    assert loose.metrics["false_alarm_rate_of_groups"] is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
def test_a_taught_model_knows_the_groups_again(tmp_path: Path) -> None:
    """The names of images do not tell their groups; the file does."""
    images = task().normal
    rows = ["file,group"]
    for folder, part in (("good", images[:100]), ("false", images[100:])):
        (tmp_path / folder).mkdir()
        for index, image in enumerate(part):
            Image.fromarray(image).save(tmp_path / folder / f"{index:03}.png")
            rows += [f"{index:03}.png,item {index // SIZE}"] * (folder == "good")
    (tmp_path / "good" / "groups.csv").write_text("\n".join(rows))
    (tmp_path / "missed").mkdir()
    for index, image in enumerate(task().unseen[task().anomalous][:8]):
        Image.fromarray(image).save(tmp_path / "missed" / f"{index}.png")
    detector = amiss.BCAE1(filters="8,8", epochs=1, false_alarm_rate=0.1).fit(tmp_path / "good")
    model = amiss.load(detector.save(tmp_path / "part.amiss"))
    assert model.decision.by_group
    part = model.record.splits.calibrate
    taught = teach(model, tmp_path / "false", tmp_path / "missed", epochs=1).model
    assert taught.record.splits.calibrate == part
    assert taught.decision.by_group
    before = part.model_copy(update={"group_names": None})  # as earlier versions wrote it
    record = model.record.model_copy(update={"splits": model.record.splits.model_copy(update={"calibrate": before})})
    taught = teach(replace(model, record=record), tmp_path / "false", tmp_path / "missed", epochs=1).model
    assert taught.record.splits.calibrate == before
    assert not taught.decision.guaranteed
