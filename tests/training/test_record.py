"""What is written down about training."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from amiss.training.record import StageRecord, TrainingRecord


def stage(name: str, seconds: float) -> StageRecord:
    return StageRecord.of_computation(name, seconds, {})


def test_a_computation_has_one_epoch() -> None:
    record = StageRecord.of_computation("fit", 1.26, {"kept": 5.0})
    assert (record.epochs, record.chosen_epoch, record.chosen_by, record.seconds) == (1, 1, "no choice", 1.3)
    assert record.figures == [{"epoch": 1.0, "kept": 5.0}]


def test_members_are_read_from_the_last_stage() -> None:
    fused = StageRecord.of_computation(
        "fuse", 0.1, {"weight of knn": 0.25, "weight of pca": 0.75, "share of knn": 0.4, "share of pca": 0.6}
    )
    stages = [stage("knn: fit", 1.0), stage("pca: fit", 2.0), stage("pca: scale", 3.0), fused]
    assert TrainingRecord(device="cpu", precision="float32", stages=stages).members() == [
        {"name": "knn", "seconds": 1.0, "weight": 0.25, "share": 0.4},
        {"name": "pca", "seconds": 5.0, "weight": 0.75, "share": 0.6},
    ]
    assert TrainingRecord(device="cpu", precision="float32", stages=stages[:1]).members() == []


def test_a_figure_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        stage("fit", float("nan"))
    with pytest.raises(ValidationError):
        TrainingRecord(device="cpu", precision="float32", stages=[])
