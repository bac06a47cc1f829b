from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from amiss.errors import DataError
from amiss.metrics import Ranking, evaluate, wilson

MEASURES = ["auroc", "aupr", "eer", "f1", "precision", "recall", "best_f1"]


def labelled(n: int = 200, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    scores = rng.normal(size=n) + 1.5 * labels
    kinds = [["scratch", "dent", None][index % 3] if bad else "ignored" for index, bad in enumerate(labels)]
    return {"scores": scores, "predicted": scores > 1.6, "labels": labels, "kinds": kinds, "repeats": 60}


def test_keys_are_as_documented() -> None:
    metrics = evaluate(**labelled())
    assert set(metrics) == {*MEASURES, "false_alarm_rate", "kinds", "n_normal", "n_anomalous"}
    assert list(metrics["kinds"]) == ["dent", "scratch"]
    for entry in (metrics, *metrics["kinds"].values()):
        assert all(set(entry[name]) == {"value", "low", "high"} for name in MEASURES)
        assert set(entry["false_alarm_rate"]) == {"promised", "achieved", "low", "high"}
    assert all(set(entry) == {*MEASURES, "false_alarm_rate", "n_anomalous"} for entry in metrics["kinds"].values())
    json.dumps(metrics, allow_nan=False)


def test_values_are_those_of_sklearn() -> None:
    case = labelled()
    scores, predicted, labels = case["scores"], case["predicted"], case["labels"]
    metrics = evaluate(**case, promised=0.02)
    expected = {
        "auroc": roc_auc_score(labels, scores),
        "aupr": average_precision_score(labels, scores),
        "eer": Ranking(scores, labels).eer(),
        "f1": f1_score(labels, predicted),
        "precision": precision_score(labels, predicted),
        "recall": recall_score(labels, predicted),
        "best_f1": max(f1_score(labels, scores >= threshold) for threshold in scores),
    }
    assert {name: metrics[name]["value"] for name in MEASURES} == pytest.approx(expected, abs=1e-12)
    assert all(metrics[name]["low"] < expected[name] < metrics[name]["high"] for name in MEASURES if name != "best_f1")
    interval = wilson(int(predicted[~labels].sum()), int((~labels).sum()))
    assert metrics["false_alarm_rate"] == {
        "promised": 0.02,
        "achieved": pytest.approx(predicted[~labels].mean()),
        "low": interval.low,
        "high": interval.high,
    }
    assert (metrics["n_normal"], metrics["n_anomalous"]) == ((~labels).sum(), labels.sum())


@pytest.mark.parametrize("grouped", [False, True])
def test_a_kind_is_measured_as_if_there_were_no_other(grouped: bool) -> None:
    case = labelled()
    groups = [f"item {index // 4}" if index % 5 else None for index in range(200)] if grouped else None
    metrics = evaluate(**case, groups=groups)
    where = ~case["labels"] | np.array([kind == "dent" for kind in case["kinds"]])
    alone = evaluate(
        case["scores"][where],
        case["predicted"][where],
        case["labels"][where],
        groups=None if groups is None else [groups[index] for index in np.flatnonzero(where)],
        repeats=60,
    )
    assert alone["n_anomalous"] < metrics["n_anomalous"]
    assert metrics["kinds"]["dent"] == {name: alone[name] for name in (*MEASURES, "false_alarm_rate", "n_anomalous")}


def test_groups_widen_intervals() -> None:
    case = labelled(50)
    copies = {name: np.repeat(np.array(case[name]), 8) for name in ("scores", "predicted", "labels")}
    together = evaluate(**copies, groups=[f"item {index // 8}" for index in range(400)], repeats=200)["auroc"]
    apart = evaluate(**copies, repeats=200)["auroc"]
    assert together["value"] == apart["value"]
    assert together["high"] - together["low"] > 1.7 * (apart["high"] - apart["low"])


def test_what_does_not_exist_is_none() -> None:
    only_normal = evaluate([1.0, 2.0], [False, True], [False, False], repeats=5)
    assert only_normal["auroc"] == only_normal["recall"] == {"value": None, "low": None, "high": None}
    assert only_normal["false_alarm_rate"]["achieved"] == 0.5
    assert (only_normal["kinds"], only_normal["n_anomalous"]) == ({}, 0)
    only_anomalous = evaluate([1.0], [True], [True], kinds=["dent"], repeats=5)
    assert only_anomalous["recall"]["value"] == 1.0
    assert only_anomalous["kinds"]["dent"]["false_alarm_rate"] == {
        "promised": 0.01,
        "achieved": None,
        "low": None,
        "high": None,
    }


def test_lengths_that_do_not_fit_are_refused() -> None:
    for change in ({"predicted": [True]}, {"labels": [True]}, {"kinds": ["dent"]}, {"groups": ["a"]}):
        with pytest.raises(DataError, match=next(iter(change))[:7]):
            evaluate(**{**labelled(), **change})
    with pytest.raises(DataError, match="nan"):
        evaluate([float("nan"), 1.0], [True, False], [True, False])


def test_ten_thousand_images_of_nine_kinds_take_seconds() -> None:
    case = labelled(10_000) | {"kinds": [f"kind {index % 9}" for index in range(10_000)], "repeats": 200}
    started = time.perf_counter()
    evaluate(**case)
    assert time.perf_counter() - started < 4  # a fifth of the resamples of a real evaluation, on a slow machine
