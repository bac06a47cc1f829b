"""Parts combine: every pair of values across two slots, and the largest combination, on small real images."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import amiss
from amiss.detectors.reconstructor import Reconstructor
from amiss.errors import DegenerateTrainingWarning
from amiss.metrics import Ranking
from amiss.settings import facts_of, settings_of
from amiss.testing import task

pytestmark = pytest.mark.slow

SLOTS = ("network", "gate", "conv", "post", "code", "loss", "negative", "svdd", "corruption", "score", "patch")
QUICK = {"filters": "16,16,8", "epochs": 1, "negative_epochs": 1, "svdd_epochs": 1, "fewest_steps": 1}


def values(slot: str) -> tuple[str, ...]:
    if slot == "patch":
        return ("none", "12:4")
    facts = facts_of(settings_of(Reconstructor)[slot])
    return tuple(facts.kind.text(choice) for choice in facts.choices or ())


def pairwise() -> list[dict[str, str]]:
    """Few settings that hold every pair of values of two slots at least once, found greedily.

    Patches refuse labelled anomalies, so `patch` and `negative` meet only where one of them is none.
    """
    every = {
        ((one, first), (other, second))
        for one, other in itertools.combinations(SLOTS, 2)
        for first in values(one)
        for second in values(other)
        if not ({one, other} == {"negative", "patch"} and "none" not in (first, second))
    }
    left, rows = set(every), []
    rng = np.random.default_rng(0)
    while left:
        best: dict[str, str] = {}
        gain: set[Any] = set()
        seed_pair = min(left)
        for _ in range(60):
            row = {slot: str(rng.choice(values(slot))) for slot in SLOTS} | dict(seed_pair)
            if row["patch"] != "none" and row["negative"] != "none":
                row["patch" if "patch" not in dict(seed_pair) or dict(seed_pair)["patch"] == "none" else "negative"] = (
                    "none"
                )
            covers = {pair for pair in left if all(row[slot] == value for slot, value in pair)}
            if len(covers) > len(gain):
                best, gain = row, covers
        rows.append(best)
        left -= gain
    return rows


ROWS = pairwise()


@pytest.mark.parametrize("row", ROWS, ids=["-".join(row.values()) for row in ROWS])
def test_every_pair_of_parts_fits_and_scores(row: dict[str, str]) -> None:
    normal, unseen = task().normal[:24], task().unseen[:8]
    labelled = {"anomalies": task().unseen[task().anomalous][:4]} if row["negative"] != "none" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTrainingWarning)
        detector = amiss.BCAE1(**QUICK, **row).fit(normal, **labelled)
    result = detector.score(unseen)
    assert np.isfinite(result.scores).all()
    assert len(np.unique(result.scores)) > 1
    maps = detector.anomaly_map(unseen)
    assert maps.shape == unseen.shape
    stages = [stage["stage"] for stage in detector.training_["stages"]]
    assert ("svdd" in stages) == (row["svdd"] != "none")
    assert ("negative" in stages) == (row["negative"] != "none")


def test_the_rows_hold_every_pair() -> None:
    for one, other in itertools.combinations(SLOTS, 2):
        held = {(row[one], row[other]) for row in ROWS}
        for pair in itertools.product(values(one), values(other)):
            if {one, other} == {"negative", "patch"} and "none" not in pair:
                continue
            assert pair in held, f"{one}={pair[0]} never meets {other}={pair[1]}"


def test_everything_together_learns(tmp_path: Any) -> None:
    """KS + SSA + SSIM + SVDD + ALPS + negative learning in one detector, saved and scored without torch."""
    anomalies = task().unseen[task().anomalous]
    detector = amiss.BCAE1(
        filters="16,16,16",
        conv="asymmetric",
        gate="ssa",
        loss="mse+ssim",
        svdd="soft-boundary",
        code="distorter",
        score="mean",
        negative="bounded",
        epochs=8,
        negative_epochs=4,
        svdd_epochs=2,
        false_alarm_rate=0.1,
    ).fit(task().normal, anomalies=anomalies[::4])
    stages = [stage["stage"] for stage in detector.training_["stages"]]
    assert stages == ["fit", "negative", "centre", "svdd", "scale"]
    scores = detector.score(task().unseen).scores
    seen = np.zeros(len(task().unseen), dtype=bool)
    seen[np.flatnonzero(task().anomalous)[::4]] = True
    assert Ranking(scores[~seen], task().anomalous[~seen]).auroc() > 0.95
    exported = amiss.load(detector.save(tmp_path / "all.amiss"), engine="onnxruntime")
    np.testing.assert_allclose(exported.score(task().unseen).scores, scores, rtol=1e-3, atol=1e-4)
