"""How many normal images the default needs: quality and the rate that is kept, from 5 images to 200.

    python benchmarks/few_images.py --work FOLDER

Three sets, one of each kind, are written to FOLDER once, with 500 normal images to draw from (see default_sets.py). A
draw takes some of them at random, fits the default on them and scores the same test images as every other draw. Each
appends a line to results/few_images.jsonl and is not repeated, so a broken run goes on where it stopped; then
results/few_images.md is written from all lines.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from default_sets import magnet_tiles, one_class, thing

import amiss
from amiss.environment import machine
from amiss.metrics import Ranking

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "few_images.jsonl"
COUNTS, DRAWS, POOL, RATES = (5, 10, 20, 50, 100, 200), 10, 500, (0.01, 0.05)
#: Most test images of either label.
TESTED = 100
SETS: dict[str, Callable[[Path], None]] = {
    "magnet tiles 1": lambda folder: magnet_tiles(folder, 0, POOL),
    "coins, turned": lambda folder: thing(folder, "coins.png", 180, POOL),
    "garments 3": lambda folder: one_class(folder, "fashion-mnist", 3, POOL),
}


def measure(folder: Path, count: int, draw: int) -> dict[str, Any]:
    pool = sorted((folder / "good").iterdir())
    chosen = np.random.default_rng([count, draw]).permutation(len(pool))[:count]
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 1 % is not attainable with so few is what the table says
        model = amiss.Panel(seed=draw).fit([str(pool[index]) for index in np.sort(chosen)]).model_
    seconds = time.perf_counter() - start
    good = sorted((folder / "test" / "good").iterdir())[:TESTED]
    bad = sorted(path for kind in (folder / "test").iterdir() if kind.name != "good" for path in kind.iterdir())
    bad = [bad[index] for index in np.linspace(0, len(bad) - 1, min(TESTED, len(bad))).astype(int)]
    found = model.score([str(path) for path in good + bad]).scores
    labels = np.arange(len(found)) >= len(good)
    line: dict[str, Any] = {"auroc": Ranking(found, labels).auroc(), "fit_seconds": round(seconds, 1), "rates": {}}
    for rate in RATES:
        decision = model.with_false_alarm_rate(rate).decision
        if decision.guaranteed:
            flagged = decision.is_anomaly(found)
            line["rates"][f"{rate:g}"] = [float(flagged[~labels].mean()), float(flagged[labels].mean())]
    return line | {"n": [len(good), len(bad)]}


def run(work: Path) -> None:
    done = {(line["set"], line["images"], line["draw"]) for line in read()}
    for draw in range(DRAWS):
        for name, make in SETS.items():
            folder = work / f"pool-{name.replace(', ', '-').replace(' ', '-')}"
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                make(partial)
                partial.rename(folder)
            for count in COUNTS:
                if (name, count, draw) in done:
                    continue
                line = {"set": name, "images": count, "draw": draw, **measure(folder, count, draw)}
                line |= {"cpu": machine.cpu_name(), "amiss": amiss.__version__}
                with LINES.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(name, count, draw, f"AUROC {100 * line['auroc']:.1f}", flush=True)


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()] if LINES.exists() else []


def table() -> str:
    """The markdown page of all lines."""
    lines = read()
    text = [
        "# From how many images?",
        "",
        "Written by `python benchmarks/few_images.py --work FOLDER`: the default, fitted on so many normal images; "
        "draws and fits with seeds from 0, means over draws, and their standard deviation. The test images are the "
        "same for every draw; those of magnet tiles are of other tiles, of which most have six pictures, and the "
        "default is not told which. It was chosen on sets of which these are three.",
        "",
        "**False alarms** are the flagged share of normal test images at the rate asked for, **found** that of "
        "anomalous ones; a dash where so few images cannot promise the rate: it takes 1 / rate - 1.",
        "",
        f"Machine: {'; '.join(sorted({line['cpu'] for line in lines}))}, beside other work.",
        "",
        "| set | images | draws | image AUROC | "
        + " | ".join(f"false alarms at {100 * rate:g} % | found at {100 * rate:g} %" for rate in RATES)
        + " |",
        "|" + " --- |" * (4 + 2 * len(RATES)),
    ]
    for name in SETS:
        for count in COUNTS:
            own = [line for line in lines if (line["set"], line["images"]) == (name, count)]
            if not own:
                continue
            cells = [_percent([line["auroc"] for line in own])]
            for rate in RATES:
                found = [line["rates"][f"{rate:g}"] for line in own if f"{rate:g}" in line["rates"]]
                cells += [_percent([each[side] for each in found]) for side in (0, 1)]
            text.append(f"| {name} | {count} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def _percent(shares: list[float]) -> str:
    if not shares:
        return "–"
    spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the sets; without it the table alone is written")
    given = parser.parse_args()
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
        run(given.work)
    (RESULTS / "few_images.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
