"""The rate that a threshold keeps: cross-calibration beside held-out images, on made images of which there is no end.

    OMP_NUM_THREADS=1 python benchmarks/cross_calibration.py

Some minutes on one core; writes results/cross_calibration.jsonl, a line for each row and number of images, none of
which is measured twice, and from it results/cross_calibration.md. Every draw has normal images of its own, one fit, and
500 other normal images that are drawn alike; their flagged share is the rate of that draw. Where a rate is not
attainable with so many images, nothing is said of it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import amiss
from amiss.environment import machine
from amiss.registry import get_method

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "cross_calibration.jsonl"
SIDE, DIMENSIONS, TEST = 12, 4, 500
COUNTS, RATES = (10, 20, 50, 99, 200), (0.1, 0.05, 0.01)


class Row(NamedTuple):
    """A method, how it is calibrated, with how many images, and how many draws are made of it."""

    title: str
    method: str
    settings: dict[str, Any]
    calibrate: str
    counts: tuple[int, ...] = COUNTS
    draws: int = 200


ROWS = [
    Row("knn", "knn", {"size": "native"}, "cross"),
    Row("knn", "knn", {"size": "native"}, "split", COUNTS[2:]),
    Row("pca", "pca", {"size": "native"}, "cross"),
    Row("pca", "pca", {"size": "native"}, "split", COUNTS[2:]),
    Row("panel, features=none", "panel", {"size": "native", "features": None}, "cross", (20, 50, 99), 60),
    Row("panel, at 64 x 64", "panel", {"size": (64, 64)}, "cross", (50,), 30),
]


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Images (count, 12, 12) whose pixels vary together in four directions, the same for one seed, beside noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(DIMENSIONS, SIDE * SIDE))
    values = 128 + 20 * rng.normal(size=(count, DIMENSIONS)) @ directions + 4 * rng.normal(size=(count, SIDE * SIDE))
    return values.clip(0, 255).astype(np.uint8).reshape(count, SIDE, SIDE)


def flagged(row: Row, count: int, seed: int) -> list[dict[str, float]]:
    """Of each attainable rate: the share of other normal images that is flagged, and k / (n + 1)."""
    images = pictures(count + TEST, seed)
    detector = get_method(row.method)(calibration=row.calibrate, seed=seed, **row.settings)
    model = detector.fit(images[:count]).model_
    scores = model.score(images[count:]).scores
    decisions = [model.with_false_alarm_rate(rate).decision for rate in RATES]
    return [
        {
            "rate": decision.false_alarm_rate,
            "expected": decision.rank / (decision.n + 1),
            "flagged": float(decision.is_anomaly(scores).mean()),
        }
        for decision in decisions
        if decision.guaranteed
    ]


def measure() -> None:
    done = {(line["title"], line["calibrate"], line["images"]) for line in read()}
    for row in ROWS:
        for count in row.counts:
            if (row.title, row.calibrate, count) in done:
                continue
            draws = [flagged(row, count, seed) for seed in range(row.draws)]
            line = {"title": row.title, "calibrate": row.calibrate, "images": count, "cpu": machine.cpu_name()}
            line |= {"amiss": amiss.__version__, "rates": [_summary(same) for same in zip(*draws, strict=True)]}
            with LINES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(row.title, row.calibrate, count, flush=True)


def _summary(draws: tuple[dict[str, float], ...]) -> dict[str, float]:
    shares = np.array([draw["flagged"] for draw in draws])
    return {
        "rate": draws[0]["rate"],
        "expected": draws[0]["expected"],
        "mean": float(shares.mean()),
        "error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
        "exceeded_by_5_percent": float(np.quantile(shares, 0.95)),
        "draws": len(shares),
    }


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()] if LINES.exists() else []


def table() -> str:
    """The markdown page of all lines."""
    lines = sorted(read(), key=lambda line: (line["title"], line["calibrate"], line["images"]))
    text = [
        "# Cross-calibration: the rate that is kept",
        "",
        "Written by `OMP_NUM_THREADS=1 python benchmarks/cross_calibration.py`; seeds 0 to draws - 1, of the images "
        f"and of the fit. Images of {SIDE} x {SIDE} pixels that vary together in {DIMENSIONS} directions, beside "
        f"noise, made anew for every draw; {TEST} other normal ones for each measure the rate. What is promised: "
        "[Decisions you can trust](../docs/decisions.md#every-image-trains-and-calibrates).",
        "",
        "**k/(n+1)** is the rate that a threshold of independent scores has on average: exactly, where images are held "
        "out. **Kept** is the mean over draws, with its standard error. **One in twenty** draws is above the next "
        "column, which holds the luck of the test images, too.",
        "",
        f"Machine: {'; '.join(sorted({line['cpu'] for line in lines}))}, one core used. "
        f"amiss {', '.join(sorted({line['amiss'] for line in lines}))}.",
        "",
        "| method | calibrate | images | rate asked for | k/(n+1) | kept | one in twenty above | draws |",
        "|" + " --- |" * 8,
    ]
    for line in lines:
        for found in line["rates"]:
            text.append(
                f"| {line['title']} | {line['calibrate']} | {line['images']} | {100 * found['rate']:g} % | "
                f"{100 * found['expected']:.2f} % | {100 * found['mean']:.2f} ± {100 * found['error']:.2f} % | "
                f"{100 * found['exceeded_by_5_percent']:.1f} % | {found['draws']} |"
            )
    return "\n".join(text) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measure()
    (RESULTS / "cross_calibration.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
