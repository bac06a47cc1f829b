"""The training loop: players, schedules, the chosen epoch, and losses that explode."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

import amiss
from amiss.errors import TrainingError, UsageError
from amiss.progress import silent
from amiss.testing import task
from amiss.training.choose import training_precision
from amiss.training.loop import RunSettings, TrainingData, run_stages
from amiss.training.stage import Batch, Player, Schedule, Stage

DATA = TrainingData(np.full((20, 1, 8, 8), 255, np.uint8), np.full((4, 1, 8, 8), 255, np.uint8))


def run(work_dir: Path | None = None) -> RunSettings:
    return RunSettings(0, 8, "cpu", "float32", work_dir, False, silent)


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.other = nn.Parameter(torch.zeros(()))


def test_players_move_their_own_parameters_as_often_as_they_should() -> None:
    network = Scalar()

    def raise_value(batch: Batch) -> dict[str, Tensor]:
        return {"value": -network.value * batch.images.mean()}

    def raise_other(batch: Batch) -> dict[str, Tensor]:
        return {"other": -network.other, "half": -0.5 * network.other}

    players = [
        Player("first", [network.value], raise_value, 1.0, optimizer=SGD),
        Player("second", [network.other], raise_other, 1.0, every_epochs=2, optimizer=SGD),
    ]
    stage = Stage("fit", players, 4, lambda held: -float(network.value))
    (record,) = run_stages(network, [stage], DATA, run()).records
    steps = 3  # 20 images in batches of 8
    assert record.steps_per_epoch == steps
    assert float(network.value.detach()) == pytest.approx(4 * steps, rel=1e-5)
    assert float(network.other.detach()) == pytest.approx(2 * steps * 1.5, rel=1e-5)


def test_weights_of_many_epochs_are_averaged_and_a_resumed_run_comes_to_the_same(tmp_path: Path) -> None:
    def stage(network: Scalar, epochs: int) -> Stage:
        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"value": -network.value * batch.images.mean()}

        players = [Player("only", [network.value], terms, 1.0, optimizer=SGD)]
        return Stage("fit", players, epochs, lambda held: 0.0, patience=9, keep="mean", left_out=1)

    whole, resumed = Scalar(), Scalar()
    (record,) = run_stages(whole, [stage(whole, 4)], DATA, run()).records
    assert float(whole.value.detach()) == pytest.approx((6 + 9 + 12) / 3, rel=1e-5)  # three steps an epoch
    assert (record.averaged, record.chosen_by, record.ended_early) == (3, "no choice", False)
    assert record.in_words.startswith("fit: mean of the last 3 of 4 epochs, all epochs used, ")
    broken = stage(resumed, 2)
    run_stages(resumed, [broken], DATA, run(tmp_path))
    (tmp_path / "stage-0.finished.ckpt").unlink()
    run_stages(resumed, [stage(resumed, 4)], DATA, dataclasses.replace(run(tmp_path), resume=True))
    assert float(resumed.value.detach()) == float(whole.value.detach())


def test_the_best_epoch_is_kept_and_patience_ends() -> None:
    network = Scalar()

    def terms(batch: Batch) -> dict[str, Tensor]:
        return {"value": -network.value}

    figures = iter([3.0, 1.0, 2.0, 1.0, 5.0, 6.0, 7.0, 8.0])
    stage = Stage(
        "fit", [Player("p", [network.value], terms, 1.0, optimizer=SGD)], 8, lambda held: next(figures), patience=2
    )
    (record,) = run_stages(network, [stage], DATA, run()).records
    # an equal figure does not count as better for stopping
    assert record.epochs == 4
    assert record.chosen_epoch == 4
    assert float(network.value.detach()) == pytest.approx(3 * 4)


def test_a_run_broken_off_after_an_early_stop_does_not_go_on(tmp_path: Path) -> None:
    def fit(resume: bool) -> tuple[dict[str, object], float]:
        network = Scalar()

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"value": -network.value}

        figures = iter([3.0, 1.0, 2.0, 4.0, 0.0, 0.0] if not resume else [0.0] * 8)
        player = Player("p", [network.value], terms, 1.0, optimizer=SGD)
        stage = Stage("fit", [player], 8, lambda held: next(figures), patience=2)
        settings = RunSettings(0, 8, "cpu", "float32", tmp_path, resume, silent)
        (record,) = run_stages(network, [stage], DATA, settings).records
        return {name: getattr(record, name) for name in ("epochs", "chosen_epoch")}, float(network.value.detach())

    unbroken = fit(resume=False)
    (tmp_path / "stage-0.finished.ckpt").unlink()
    assert fit(resume=True) == unbroken


def test_plateau_lowers_the_learning_rate() -> None:
    network = Scalar()
    seen: list[float] = []

    def plateau(optimizer: torch.optim.Optimizer, steps: int) -> ReduceLROnPlateau:
        seen.append(steps)
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=1)

    def terms(batch: Batch) -> dict[str, Tensor]:
        return {"value": -network.value}

    player = Player("p", [network.value], terms, 1.0, Schedule(plateau, "plateau"), optimizer=SGD)
    stage = Stage("fit", [player], 5, lambda held: 1.0)
    run_stages(network, [stage], DATA, run())
    # epochs 1 to 3 at 1.0 (first figure, two without a better one), 4 and 5 at 0.5
    assert float(network.value.detach()) == pytest.approx(3 * 3 + 2 * 3 * 0.5)
    assert seen == [15]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_cure(bad: float) -> None:
    network = Scalar()

    def terms(batch: Batch) -> dict[str, Tensor]:
        return {"the term": network.value * bad + bad}

    stage = Stage("fit", [Player("player", [network.value], terms, 1.0)], 2, lambda held: 0.0)
    with pytest.raises(TrainingError, match=r"the term of the player.*epoch 1.*learning_rate"):
        run_stages(network, [stage], DATA, run())


def test_a_stop_figure_that_is_not_finite_names_the_cure() -> None:
    network = Scalar()

    def terms(batch: Batch) -> dict[str, Tensor]:
        return {"value": network.value}

    stage = Stage("fit", [Player("player", [network.value], terms, 1.0)], 2, lambda held: float("nan"))
    with pytest.raises(TrainingError, match="stop figure"):
        run_stages(network, [stage], DATA, run())


def test_an_exploding_learning_rate_is_explained_and_leaves_the_detector_unfitted() -> None:
    detector = amiss.ADACL(learning_rate=1e30, epochs=2)
    with pytest.raises(TrainingError, match="learning_rate"):
        detector.fit(task().normal[:40])
    assert not hasattr(detector, "calibration_scores_")


def test_a_failed_refit_leaves_the_older_fit_whole() -> None:
    detector = amiss.ADACL(epochs=1, fewest_steps=2).fit(task().normal[:30])
    scores, model = detector.score(task().unseen[:20]).scores, detector.model_
    with pytest.raises(TrainingError):
        detector.set_params(learning_rate=1e30).fit(task().normal[40:80])
    assert detector.model_ is model
    np.testing.assert_array_equal(detector.score(task().unseen[:20]).scores, scores)


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    amiss.ADACL(epochs=1, fewest_steps=2).fit(task().normal[:30])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_explained() -> None:
    with pytest.raises(UsageError, match=r"no device cuda.*cpu"):
        amiss.ADACL(device="cuda").fit(task().normal)


def test_precision_is_a_rule() -> None:
    transposed, plain = nn.ConvTranspose2d(1, 1, 3), nn.Conv2d(1, 1, 3)
    assert training_precision("auto", "cpu", transposed) == "float32"
    assert training_precision("float32", "cpu", plain) == "float32"
    assert training_precision("bfloat16", "cpu", transposed) == "bfloat16"
