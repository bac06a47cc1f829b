"""The rate that a threshold keeps: cross-calibration beside held-out images, on made images of which there is no end.

    OMP_NUM_THREADS=1 python benchmarks/cross_calibration.py

Some minutes on one core; writes results/cross_calibration.md. Every draw has normal images of its own, one fit, and 500
other normal images that are drawn alike; their flagged share is the rate of that draw. Where a rate is not attainable
with so many images, nothing is said of it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import amiss
from amiss.environment import machine
from amiss.registry import get_method

RESULTS = Path(__file__).parent.parent / "results" / "cross_calibration.md"
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
    *(Row(name, name, {"size": "native"}, calibrate) for name in ("knn", "pca") for calibrate in ("cross", "held_out")),
    Row("panel, features=none", "panel", {"size": "native", "features": None}, "cross", (20, 50, 99), 100),
    Row("panel, at 64 x 64", "panel", {"size": (64, 64)}, "cross", (50, 99), 40),
]


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Images (count, 12, 12) whose pixels vary together in four directions, the same for one seed, beside noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(DIMENSIONS, SIDE * SIDE))
    values = 128 + 20 * rng.normal(size=(count, DIMENSIONS)) @ directions + 4 * rng.normal(size=(count, SIDE * SIDE))
    return values.clip(0, 255).astype(np.uint8).reshape(count, SIDE, SIDE)


def flagged(row: Row, count: int, seed: int) -> dict[float, tuple[float, float]]:
    """By rate, where it is attainable: the share of other normal images that is flagged, and k / (n + 1)."""
    images = pictures(count + TEST, seed)
    detector = get_method(row.method)(calibrate=row.calibrate, seed=seed, **row.settings)
    model = detector.fit(images[:count]).model_
    scores = model.score(images[count:]).scores
    decisions = [model.with_false_alarm_rate(rate).decision for rate in RATES]
    return {
        decision.false_alarm_rate: (float(decision.is_anomaly(scores).mean()), decision.rank / (decision.n + 1))
        for decision in decisions
        if decision.guaranteed
    }


def measured(row: Row) -> Iterator[str]:
    """Lines of the table; too few images to hold any out make none."""
    for count in row.counts:
        start = time.perf_counter()
        draws = [flagged(row, count, seed) for seed in range(row.draws)]
        for rate in draws[0]:
            shares = 100 * np.array([draw[rate][0] for draw in draws])
            error = shares.std(ddof=1) / np.sqrt(len(shares))
            yield (
                f"| {row.title} | {row.calibrate} | {count} | {100 * rate:g} % | {100 * draws[0][rate][1]:.2f} % | "
                f"{shares.mean():.2f} ± {error:.2f} % | {np.quantile(shares, 0.95):.1f} % | {row.draws} |"
            )
        print(row.title, row.calibrate, count, f"{time.perf_counter() - start:.0f} s", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = [line for row in ROWS for line in measured(row)]
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
        f"Machine: {machine.cpu_name()}, one of them used. amiss {amiss.__version__}.",
        "",
        "| method | calibrate | images | rate asked for | k/(n+1) | kept | one in twenty above | draws |",
        "|" + " --- |" * 8,
        *lines,
    ]
    RESULTS.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
