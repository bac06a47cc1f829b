"""Teaching a model in service: what changes, what is kept aside, which images it asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.errors import DataError, UsageError
from amiss.metrics import Ranking
from amiss.model import FittedModel
from amiss.model.archive import read_manifest
from amiss.service.teaching import Lesson, teach
from amiss.testing import fitted, task
from amiss.testing.videos import crossing, write_video

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine digits are good; ones, which an autoencoder of the others paints well, are bad; and a fitted model."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("parts")
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    for name, chosen in (
        ("good", images[digits.target != 1][:200]),
        ("false", images[digits.target != 1][200:260]),
        ("missed", images[digits.target == 1][:30]),
        ("later", images[digits.target == 1][30:90]),
    ):
        (folder / name).mkdir()
        for number, image in enumerate(chosen):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    detector = amiss.BCAE1(filters="16,16,16", epochs=8, learning_rate=4e-3, false_alarm_rate=0.1)
    detector.fit(folder / "good").save(folder / "model.amiss")
    return folder


def lesson(parts: Path, model: FittedModel, **options: object) -> Lesson:
    return teach(model, parts / "false", parts / "missed", epochs=8, learning_rate=2e-3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [amiss.FrameDifference, amiss.MotionADACL, amiss.Recurrent])
def test_methods_of_clips_say_that_they_cannot_be_taught(method: type[amiss.Detector]) -> None:
    model = fitted(method).model_
    before = model.calibration.scores["torch"].copy()
    videos = np.stack([crossing(1, 12)])
    with pytest.raises(UsageError, match=f"{method.__name__} sees clips of frames and cannot be taught.*fit it again"):
        teach(model, videos, videos)
    np.testing.assert_array_equal(model.calibration.scores["torch"], before)


def test_methods_of_single_frames_are_taught_with_videos(tmp_path: Path) -> None:
    """Also with the frames that `events.csv` calls anomalous."""
    normal = np.stack([crossing(1, 40, seed=seed) for seed in range(4)])
    detector = amiss.BCAE1(filters="8,8", epochs=1, false_alarm_rate=0.1).fit(normal)
    write_video(tmp_path / "a.mp4", crossing([1] * 20 + [12] * 20, seed=7))
    (tmp_path / "events.csv").write_text("video,start,end\na.mp4,20,39\n")
    taught = teach(detector.model_, tmp_path, tmp_path, calibrate=normal, epochs=1)
    assert (taught.record.normal, taught.record.anomalous) == (20, 20)


def test_a_lesson_helps_with_images_not_learnt_from(parts: Path) -> None:
    before = amiss.load(parts / "model.amiss")
    taught = lesson(parts, before)
    later, normal = (amiss.open_images(parts / name) for name in ("later", "false"))

    def auroc(one: FittedModel) -> float:
        scores = np.concatenate([one.score(part).scores for part in (normal, later)])
        return float(Ranking(scores, np.arange(len(scores)) >= len(normal)).auroc())

    assert auroc(taught.model) > auroc(before) + 0.2
    assert taught.after.auroc >= taught.before.auroc  # type: ignore[operator]
    assert taught.record.kept_aside == 18 + 9
    assert (taught.record.normal, taught.record.anomalous) == (42, 21)


def test_it_is_recalibrated_and_written_down(parts: Path, tmp_path: Path) -> None:
    old = amiss.load(parts / "model.amiss")
    model = lesson(parts, old).model
    assert model.record.splits.calibrate.images == old.record.splits.calibrate.images
    assert not np.array_equal(model.calibration.scores["torch"], old.calibration.scores["torch"])
    path = model.save(tmp_path / "taught.amiss")
    (record,) = read_manifest(path)["lessons"]
    assert (record["normal"], record["anomalous"], record["form"]) == (42, 21, "bounded")
    assert record["stage"]["stage"] == "lesson"
    again = amiss.load(path, engine="onnxruntime")
    assert len(again.record.lessons) == 1
    assert labelled(again) == labelled(model)
    unseen = task().unseen[:20]
    np.testing.assert_allclose(again.score(unseen).scores, model.score(unseen).scores, rtol=1e-3, atol=1e-6)
    assert len(lesson(parts, again).model.record.lessons) == 2


def labelled(model: FittedModel) -> set[str]:
    assert model.record.splits.labelled is not None
    return set(model.record.splits.labelled.images)


def test_the_given_model_never_changes(parts: Path, tmp_path: Path) -> None:
    model = amiss.load(parts / "model.amiss")
    scores, record = model.score(parts / "later").scores, model.record.model_copy(deep=True)
    assert lesson(parts, model).model is not model
    np.testing.assert_array_equal(model.score(parts / "later").scores, scores)
    assert model.record == record
    assert model.save(tmp_path / "same.amiss").exists()
    np.testing.assert_array_equal(amiss.load(tmp_path / "same.amiss").score(parts / "later").scores, scores)


def test_it_says_which_calibration_images_it_needs(parts: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(parts, moved)
    model = amiss.load(parts / "model.amiss")
    names = model.record.splits.calibrate.names
    assert names is not None
    hidden = Path(names[0])
    hidden.rename(hidden.with_suffix(".away"))
    try:
        with pytest.raises(DataError, match=r"1 of them are missing or changed, such as .*--calibrate"):
            lesson(parts, model)
    finally:
        hidden.with_suffix(".away").rename(hidden)
    # the same images elsewhere: only the named ones are used
    taught = lesson(parts, model, calibrate=moved / "good").model
    assert set(taught.record.splits.calibrate.images) == set(model.record.splits.calibrate.images)


def test_calibration_images_are_never_learnt_from(parts: Path) -> None:
    model = amiss.load(parts / "model.amiss")
    model = teach(model, parts / "good", parts / "missed", calibrate=parts / "false", epochs=1).model
    taught = labelled(model) | set(model.record.splits.train.images)
    assert not taught & set(model.record.splits.calibrate.images)
    with pytest.raises(DataError, match="no image is left to calibrate"):
        teach(model, parts / "false", parts / "missed", calibrate=parts / "false", epochs=1)


def test_what_cannot_be_taught_is_explained(parts: Path) -> None:
    with pytest.raises(UsageError, match="ADACL cannot be taught"):
        lesson(parts, fitted(amiss.ADACL).model_)
    model = amiss.load(parts / "model.amiss")
    with pytest.raises(DataError, match="both as normal and as anomalous"):
        teach(model, parts / "false", parts / "false")


def test_a_lesson_that_fails_leaves_the_model_as_it_was(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = amiss.load(parts / "model.amiss")
    before = model.score(parts / "later").scores

    def broken_off(text: str, done: int, total: int, detail: str = "") -> None:
        if text == "negative" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lesson(parts, model, progress=broken_off)
    assert np.array_equal(model.score(parts / "later").scores, before)
    assert model.record.lessons == []


def test_copies_are_not_divided_between_learning_and_comparing(parts: Path, tmp_path: Path) -> None:
    for name in ("false", "missed"):
        (tmp_path / name).mkdir()
        for number in range(4):
            for copy in range(3):
                shutil.copy(parts / name / f"{number}.png", tmp_path / name / f"{number}-{copy}.png")
    taught = teach(amiss.load(parts / "model.amiss"), tmp_path / "false", tmp_path / "missed", epochs=1)
    assert taught.record.normal == taught.record.anomalous == 9
    assert taught.record.kept_aside == 6
    splits = taught.model.record.splits
    assert splits.labelled is not None
    assert splits.labelled.count == 6  # different pictures: three of each


@pytest.mark.parametrize(
    ("options", "word"), [({"epochs": 0}, "epochs"), ({"form": "none"}, "form"), ({"seed": -1}, "seed")]
)
def test_bad_options_are_named_before_anything_is_read(
    parts: Path, tmp_path: Path, options: dict[str, object], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        teach(amiss.load(parts / "model.amiss"), tmp_path / "absent", tmp_path / "absent", **options)  # type: ignore[arg-type]
