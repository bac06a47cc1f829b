"""What only ADACL promises."""

from __future__ import annotations

import numpy as np
import pytest

import amiss
from amiss.errors import UsageError
from amiss.testing import fitted, task


def test_scores_are_not_clipped() -> None:
    scores = fitted(amiss.ADACL).score(task().unseen).scores
    assert scores.max() > 1 or scores.min() < 0 or len(np.unique(scores)) == len(scores)
    assert len(np.unique(scores[task().anomalous])) > 0.9 * task().anomalous.sum(), "scores tie as if clipped"


@pytest.mark.parametrize(
    "settings",
    [{"loss": "bce"}, {"output": "sigmoid"}, {"normal_high": 0.0, "anomaly_low": 1.0}, {"anomalies": "puzzle"}],
)
def test_every_ablation_of_the_thesis_fits(settings: dict[str, object]) -> None:
    detector = amiss.ADACL(epochs=2, fewest_steps=10, **settings).fit(task().normal[:40])
    assert np.isfinite(detector.score(task().unseen).scores).all()


def test_bad_settings_are_explained() -> None:
    with pytest.raises(UsageError, match="cut_and_paste"):
        amiss.ADACL(anomalies="cut_and_paste").fit(task().normal)
    with pytest.raises(UsageError, match="normal_high"):
        amiss.ADACL(normal_high=0.8).fit(task().normal)
    with pytest.raises(UsageError, match="mse, bce"):
        amiss.ADACL(loss="l1").fit(task().normal)


def test_the_epoch_is_chosen_by_created_anomalies() -> None:
    (stage,) = fitted(amiss.ADACL).training_["stages"]
    assert stage["better"] == "max"
    figures = [line["stop"] for line in stage["figures"]]
    best = max(figures)
    assert stage["chosen_epoch"] == len(figures) - figures[::-1].index(best)
