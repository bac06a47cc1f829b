"""What training is given to learn from, where a backbone stands before the method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import amiss
from amiss import networks, training
from amiss.detectors.detector import Detector
from amiss.errors import TrainingError, UsageError
from amiss.networks.backbone import Backbone
from amiss.testing import task
from amiss.testing.common import small_backbone
from amiss.testing.videos import crossing


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    path = tmp_path / "backbone.onnx"
    path.write_bytes(small_backbone())
    return str(path)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of a backbone was about."""
    calls: list[int] = []
    call = Backbone.__call__

    def counted(self: Backbone, image: torch.Tensor) -> list[torch.Tensor]:
        calls.append(len(image))
        return call(self, image)

    monkeypatch.setattr(Backbone, "__call__", counted)
    return calls


@pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
def test_feature_maps_that_never_change_are_computed_once(backbone: str, looked_at: list[int]) -> None:
    normal = task().normal[:100]
    counts = []
    for epochs in (1, 6):
        looked_at.clear()
        amiss.BCAE1(features=backbone, size=(24, 20), filters=(8, 8), epochs=epochs, fewest_steps=2).fit(normal)
        counts.append(sum(looked_at))
    assert counts[0] == counts[1], "more epochs do not ask the backbone again"


def test_in_training_a_backbone_sees_a_few_images_at_a_time(looked_at: list[int]) -> None:
    features = networks.backbone.Features(Backbone(small_backbone()), (1, 24, 20))
    looked_at.clear()
    assert features(torch.rand(70, 1, 24, 20)).shape == (70, *features.shape)
    assert looked_at == [8] * 8 + [6]


class Student(torch.nn.Module):
    """A head that sees the image beside the features of its teacher."""

    sees_image = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.student = torch.nn.Conv2d(1, channels, 3, stride=2, padding=1)

    def forward(self, features: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        distances = (self.student(image) - features).square().mean(dim=1)
        return {"score": distances.amax(dim=(1, 2)), "map": distances}


@dataclass(kw_only=True, eq=False)
class StudentTeacher(Detector[Student]):
    """A student network learns to give the features of a backbone."""

    has_map = True
    takes_backbone = True

    def build(self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None) -> Student:
        assert backbone is not None
        return Student(backbone.shape[0])

    def stages(self, scorer: Student) -> list[Any]:
        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return {"distance": scorer(batch.features(batch.images), batch.images)["map"].mean()}

        def monitor(held: training.stage.Held) -> float:
            return float(scorer(held.features(held.images), held.images)["score"].mean())

        player = training.stage.Player("student", scorer.parameters(), terms, self.learning_rate)
        return [training.stage.Stage("fit", [player], self.epochs, monitor)]


def test_a_student_beside_its_teacher_is_a_method_like_any_other(backbone: str, tmp_path: Path) -> None:
    normal, unseen = task().normal[:60], task().unseen
    labelled = amiss.Collection(
        [
            amiss.data.Item(item.name, item.read, "sort", bool(anomalous))
            for item, anomalous in zip(amiss.open_images(unseen), task().anomalous, strict=True)
        ],
        "digits",
    )
    detector = StudentTeacher(features=backbone, size=(24, 20), epochs=8, learning_rate=0.05, discard=0.1)
    detector.fit(normal, validation=labelled)
    figures = detector.training_["stages"][0]["figures"]
    assert figures[-1]["distance"] < 0.5 * figures[0]["distance"]
    assert 0 <= figures[-1]["validation AUROC"] <= 1
    assert detector.anomaly_map(unseen[:2]).shape == (2, 24, 20)
    scores = detector.score(unseen[:8]).scores
    np.testing.assert_allclose(detector.model_.on("onnxruntime").score(unseen[:8]).scores, scores, rtol=1e-3)


def test_checkpoints_of_an_earlier_version_are_not_gone_on_from(tmp_path: Path) -> None:
    normal = task().normal[:40]
    detector = amiss.PCA()
    detector.fit(normal, work_dir=tmp_path)
    run = tmp_path / "run.json"
    assert '"checkpoints": 3' in run.read_text()
    run.write_text(run.read_text().replace('"checkpoints": 3, ', ""))
    with pytest.raises(TrainingError, match="without resume"):
        detector.fit(normal, work_dir=tmp_path, resume=True)


def test_foreground_alone_is_learnt_from_and_decides() -> None:
    """A lamp in the background that is odd from the start never moves, so it is neither learnt nor scored."""
    frames = crossing(2, 120, (32, 48))
    frames[:, 24:, 40:] = np.tile([[0, 255], [255, 0]], (4, 4))  # stranger than anything that moves
    model = amiss.PCA(patch=(8, 8), foreground=0.2, size="native", components=4).fit(frames[None]).model_
    empty = np.median(frames, axis=0).astype(np.uint8)
    odd = empty.copy()
    odd[8:16, 8:16] = np.random.default_rng(1).integers(120, 250, (8, 8))
    usual, nothing, strange = model.score(np.stack([frames[100], empty, odd])).scores
    assert nothing <= usual < strange
    maps = model.anomaly_map(np.stack([empty, odd]))
    assert maps[0].max() == pytest.approx(maps[0].min())  # nothing moves: no place is stranger than another
    assert maps[1][8:16, 8:16].mean() > maps[1][24:, 40:].mean()
    exported = model.on("onnxruntime").score(np.stack([frames[100], empty, odd])).scores
    np.testing.assert_allclose(exported, [usual, nothing, strange], rtol=1e-3, atol=1e-6)


def test_foreground_needs_a_camera_that_stands_still() -> None:
    views = np.stack([crossing(2, 200, (32, 48)), 255 - crossing(2, 200, (32, 48))])
    with pytest.raises(UsageError, match="one camera"):
        amiss.PCA(patch=(8, 8), foreground=0.2, size="native").fit(views)
