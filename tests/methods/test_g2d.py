"""G2D: which epochs make irregular images, what is kept, and what is noticed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import amiss
from amiss.errors import UsageError
from amiss.methods.g2d import Samples, _diagnose_phases, _spread, phases
from amiss.testing import fitted, task

pytestmark = pytest.mark.slow


def test_phases_follow_a_falling_loss() -> None:
    losses = [float(20 * np.exp(-epoch / 5)) for epoch in range(50)]
    found = phases(losses)
    assert found[0] == "far"
    assert found[-1] == "converged"
    order = {"far": 0, "boundary": 1, "converged": 2}
    assert [order[phase] for phase in found] == sorted(order[phase] for phase in found)
    assert {"far", "boundary", "converged"} == set(found)


@given(
    losses=st.lists(st.floats(-100, 100), min_size=1, max_size=80), shift=st.floats(-50, 50), scale=st.floats(0.1, 50)
)
def test_phases_do_not_depend_on_the_losses_scale(losses: list[float], shift: float, scale: float) -> None:
    coarse = [round(loss) for loss in losses]
    assert phases([float(loss) for loss in coarse]) == phases([loss * 4.0 + 8.0 for loss in coarse])
    assert len(phases(losses)) == len(losses)


def test_a_loss_that_rises_in_between_has_not_converged() -> None:
    losses = [10.0] * 5 + [12.0] * 5 + [0.0] * 20
    assert phases(losses)[0] == "far"


def test_chosen_epochs_are_spread_and_hold_the_last() -> None:
    assert _spread([1, 2, 3], 10) == [1, 2, 3]
    chosen = _spread(list(range(40)), 10)
    assert len(chosen) == 10
    assert chosen[-1] == 39
    assert np.diff(chosen).max() <= 5


def test_only_the_detector_is_saved(tmp_path: Path) -> None:
    from safetensors.numpy import load

    detector = fitted(amiss.G2D)
    with zipfile.ZipFile(detector.save(tmp_path / "g2d.amiss")) as archive:
        names = load(io.BytesIO(archive.read("weights.safetensors")).getvalue())
    assert names
    assert not [name for name in names if "generator" in name or "critic" in name]
    stages = [stage["stage"] for stage in detector.training_["stages"]]
    assert stages == ["generator", "generate", "detector"]
    counts = detector.training_["stages"][1]["figures"][0]
    assert counts["far"] + counts["boundary"] + counts["converged"] == detector.training_["stages"][0]["epochs"]


def test_a_gan_that_never_converges_is_noticed() -> None:
    (sentence,) = _diagnose_phases([{"far": 8.0, "boundary": 2.0, "converged": 0.0}])
    assert "raise epochs" in sentence
    assert not _diagnose_phases([{"far": 8.0, "boundary": 2.0, "converged": 3.0}])


@pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
def test_converged_generators_can_augment() -> None:
    settings = {"filters": "16,8", "epochs": 8, "detector_epochs": 1, "learning_rate": 1e-9, "fewest_steps": 1}
    detector = amiss.G2D(augment=True, **settings).fit(task().normal[:40])
    assert np.isfinite(detector.score(task().unseen).scores).all()


@pytest.mark.parametrize("count", [2, 3, 10, 28])
def test_held_out_images_are_not_learnt_from(count: int) -> None:
    samples = Samples(None)
    samples._images["irregular"] = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    learnt = set(samples._trained_on("irregular").flatten().tolist())
    held = set((samples.held_out(torch.zeros(1)) * 255).round().flatten().int().tolist())
    assert not learnt & held
    assert learnt | held == set(range(count))


@pytest.mark.parametrize("method", [amiss.G2D, amiss.ALOCC])
@pytest.mark.parametrize("filters", ["a", "", "0", "-3,4"])
def test_filters_are_checked(method: type[amiss.Detector], filters: str) -> None:
    with pytest.raises(UsageError, match="filters"):
        method(filters=filters).fit(task().normal)
