"""What only ADACL promises."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

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


@pytest.mark.parametrize(
    ("normalisation", "kind"), [("none", None), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)]
)
def test_normalisation_stands_behind_every_convolution(normalisation: str, kind: type | None) -> None:
    network = amiss.ADACL(normalisation=normalisation).build((1, 28, 28)).network
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4
    assert all((layer.bias is None) == (kind is not None) for layer in convolutions)
    found = [layer for layer in network if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm))]
    assert [type(layer) for layer in found] == ([] if kind is None else [kind] * 4)
    assert sum(weight.numel() for weight in network.parameters()) < 300_000


def test_the_last_four_of_five_epochs_are_averaged() -> None:
    (stage,) = amiss.ADACL(epochs=5, fewest_steps=2).fit(task().normal[:40]).training_["stages"]
    assert (stage["averaged"], stage["chosen_by"]) == (4, "no choice")


def test_without_averaging_the_epoch_is_chosen_by_created_anomalies() -> None:
    detector = amiss.ADACL(averaged=0.0, epochs=3, fewest_steps=5).fit(task().normal[:40])
    (stage,) = detector.training_["stages"]
    assert (stage["better"], stage["averaged"]) == ("max", 1)
    figures = [line["stop"] for line in stage["figures"]]
    best = max(figures)
    assert stage["chosen_epoch"] == len(figures) - figures[::-1].index(best)
