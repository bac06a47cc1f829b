"""How soon the drift test sees a change of brightness on magnet tiles, and how often it raises a false alarm.

    python benchmarks/drift.py

Scores are those of the default method, fitted on 300 good tiles with images held out for calibration, on the other good
tiles as they are, and darkened or brightened. A run begins with 99 of these scores, drawn at random, and goes on with
others, drawn with replacement, so that good images are exchangeable by construction and there are as many as it takes.
One thread; writes results/drift.md.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import amiss
from amiss.calibration import DriftTest
from amiss.environment import machine

RESULTS = Path(__file__).parent.parent / "results"
LEARNT, CALIBRATION, LEVEL, SEED = 300, 99, 0.01, 0
RUNS, LENGTH = 200, 5_000
LONG_RUNS, LONG = 5, 100_000
#: Good images before the change; runs and most images after it.
QUIET, CHANGED_RUNS, MOST = (0, 1_000, 10_000), 20, 2_000
CHANGES = {"5 % darker": 0.95, "5 % brighter": 1.05, "10 % darker": 0.9, "2 % darker": 0.98}


def scores() -> dict[str, NDArray[np.float32]]:
    """Scores of good tiles that were not learnt from, as they are (`good`), and after each change."""
    parts = ("train", "dev", "test")
    good = [
        item for part in parts for item in amiss.open_images(f"magnetic-tile:{part}", "score") if not item.anomalous
    ]
    order = np.random.default_rng(SEED).permutation(len(good))
    pixels = [good[index].read() for index in order]
    detector = amiss.Panel(seed=SEED, calibration="split").fit(pixels[:LEARNT])
    rest = pixels[LEARNT:]
    found = {"good": detector.score(rest).scores}
    for name, factor in CHANGES.items():
        found[name] = detector.score([_brighter(each, factor) for each in rest]).scores
    return found


def _brighter(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return np.clip(np.rint(pixels * factor), 0, 255).astype(np.uint8)


def after_change(found: dict[str, NDArray[np.float32]], change: str, quiet: int) -> list[int | None]:
    """Images after the change until it is seen, in each run; 0 for an alarm before it, None for none."""
    needed: list[int | None] = []
    for run in range(CHANGED_RUNS):
        rng = np.random.default_rng((SEED, run))
        test = DriftTest(rng.choice(found["good"], CALIBRATION, replace=False), LEVEL, seed=run)
        test.see(rng.choice(found["good"], quiet))
        for _ in range(MOST // 50):
            if test.see(rng.choice(found[change], 50)):
                break
        needed.append(None if test.changed_at is None else max(0, test.changed_at - quiet))
    return needed


def false_alarms(draw: Callable[[np.random.Generator, int], NDArray[np.float32]], runs: int, length: int) -> int:
    """In how many runs of so many good images there is an alarm."""
    alarms = 0
    for run in range(runs):
        rng = np.random.default_rng((SEED, 1, length, run))
        alarms += DriftTest(draw(rng, CALIBRATION), LEVEL, seed=run).see(draw(rng, length))
    return alarms


def main() -> None:
    found = scores()
    good = found["good"]
    start = time.perf_counter()
    quiet = false_alarms(lambda rng, n: rng.choice(good, n), RUNS, LENGTH)
    microseconds = 1e6 * (time.perf_counter() - start) / (RUNS * LENGTH)
    long = false_alarms(lambda rng, n: rng.choice(good, n), LONG_RUNS, LONG)
    text = [
        "# Drift: how soon a change is seen, and how quiet it is without one",
        "",
        f"Written by `python benchmarks/drift.py`; seed {SEED}. Magnet tiles: the default method (`panel`, "
        f"`calibration=split`) fitted on {LEARNT} good tiles, scores of {len(good)} others; {CALIBRATION} scores to "
        f"start with, level {LEVEL:g}. One thread of {machine.cpu_name()}: {microseconds:.0f} microseconds an image.",
        "",
        "## Without a change",
        "",
        "| runs | good images a run | runs with an alarm | allowed |",
        "| --- | --- | --- | --- |",
        f"| {RUNS} | {LENGTH:,} | {quiet} ({100 * quiet / RUNS:.1f} %) | {100 * LEVEL:g} % |",
        f"| {LONG_RUNS} | {LONG:,} | {long} | {100 * LEVEL:g} % |",
        "",
        "## After a change",
        "",
        f"Images after the change until the alarm, over {CHANGED_RUNS} runs; *seen*: within {MOST:,} images. *Higher*: "
        "how often a score of a changed image is above one of a good image; 50 % is no change of the typical score.",
        "",
        "| change | good images before | higher, % | seen | median images | slowest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for change in CHANGES:
        higher = 100 * np.mean(found[change][:, None] > good[None, :])
        for before in QUIET:
            needed = after_change(found, change, before)
            seen = sorted(each for each in needed if each is not None)
            middle = f"{np.median(seen):.0f}" if seen else "–"
            slowest = f"{seen[-1]}" if len(seen) == len(needed) else f"more than {MOST:,}"
            text.append(
                f"| {change} | {before:,} | {higher:.1f} | {len(seen)} of {len(needed)} | {middle} | {slowest} |"
            )
    (RESULTS / "drift.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
