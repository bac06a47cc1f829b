"""One class normal, the rest anomalous: AUROC for each class, beside trivial baselines and the papers' figures.

    python benchmarks/one_class.py fashion-mnist adacl --seeds 0 1 2
    python benchmarks/one_class.py fashion-mnist knn pca pixel
    python benchmarks/one_class.py --table

Each fit appends a line to results/one_class.jsonl and is not repeated, so a broken run goes on where it stopped. The
epoch is chosen on held-out normals; the test set is scored once. `--table` writes results/one_class.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import amiss
from amiss.data.preprocessing import to_float
from amiss.environment import versions
from amiss.metrics import Ranking
from amiss.registry import get_method
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "one_class.jsonl"
#: Printed means: ADACL, thesis table 4.1 (the Fashion-MNIST row repeats five of ALPS's figures; see docs).
PAPER = {("fashion-mnist", "adacl"): 93.22, ("mnist", "adacl"): 98.01}
SEEDLESS = ("knn", "pca", "pixel")


def knn(train: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean distance to the three nearest training images, on raw pixels."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=3).fit(train).kneighbors(test)
    return distances.mean(axis=1).astype(np.float32)


def pca(train: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared error of the reconstruction from 30 principal components."""
    from sklearn.decomposition import PCA

    model = PCA(30, random_state=0).fit(train)
    return ((model.inverse_transform(model.transform(test)) - test) ** 2).mean(axis=1).astype(np.float32)


def pixel(train: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared z-score of the pixels."""
    return (((test - train.mean(0)) / (train.std(0) + 0.05)) ** 2).mean(axis=1).astype(np.float32)


BASELINES: dict[str, Callable[..., NDArray[np.float32]]] = {"knn": knn, "pca": pca, "pixel": pixel}


def run_baseline(dataset: str, name: str, normal: int) -> dict[str, Any]:
    train = amiss.open_images(f"{dataset}:train:normal={normal}").normal
    test = amiss.open_images(f"{dataset}:test:normal={normal}")
    start = time.perf_counter()
    flat = [to_float(np.stack([item.read() for item in part])).reshape(len(part), -1) for part in (train, test)]
    auroc = Ranking(BASELINES[name](*flat), test.labels()).auroc()
    return {"auroc": auroc, "seconds": time.perf_counter() - start}


def run_method(dataset: str, name: str, normal: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    detector = get_method(name)(seed=seed, **settings).fit(f"{dataset}:train:normal={normal}")
    seconds = time.perf_counter() - start
    test = amiss.open_images(f"{dataset}:test:normal={normal}")
    result = detector.score(test)
    labels = test.labels()
    stage = detector.training_["stages"][-1]
    return {
        "auroc": Ranking(result.scores, labels).auroc(),
        "false_alarm_rate": float(result.is_anomaly[~labels].mean()),
        "recall": float(result.is_anomaly[labels].mean()),
        "chosen_epoch": stage["chosen_epoch"],
        "epochs": stage["epochs"],
        "precision": detector.training_["precision"],
        "seconds": seconds,
    }


def table() -> str:
    """The markdown table of all lines: mean over seeds for each class."""
    rows = [json.loads(line) for line in LINES.read_text().splitlines()]
    text = [
        "# One class normal, the rest anomalous",
        "",
        "AUROC in %, mean over seeds; test set scored once a fit.",
        "",
    ]
    for dataset in sorted({row["dataset"] for row in rows}):
        text += [f"## {dataset}", "", "| method | seeds | " + " | ".join(map(str, range(10))) + " | mean | paper | "
                 "false alarms at 1 % | seconds a fit |", "|" + " --- |" * 16]  # fmt: skip
        here = [row for row in rows if row["dataset"] == dataset]
        for method, options in sorted({(row["method"], json.dumps(row["settings"])) for row in here}):
            mine = [row for row in here if row["method"] == method and json.dumps(row["settings"]) == options]
            classes = [[row["auroc"] for row in mine if row["normal"] == digit] for digit in range(10)]
            means = [float(np.mean(values)) if values else float("nan") for values in classes]
            seeds = len({row["seed"] for row in mine})
            name = method + (f" {options}" if options != "{}" else "")
            mean = "–" if np.isnan(means).any() else f"{100 * np.mean(means):.2f}"
            if seeds > 1 and all(len(values) == seeds for values in classes):
                by_seed = [np.mean([r["auroc"] for r in mine if r["seed"] == s]) for s in {r["seed"] for r in mine}]
                mean += f" ± {100 * np.std(by_seed, ddof=1):.2f}"
            alarms = [row["false_alarm_rate"] for row in mine if "false_alarm_rate" in row]
            text.append(
                f"| {name} | {'–' if method in SEEDLESS else seeds} | "
                + " | ".join("–" if np.isnan(value) else f"{100 * value:.2f}" for value in means)
                + f" | {mean} | {PAPER.get((dataset, method), '–')} | "
                + (f"{100 * np.mean(alarms):.2f} %" if alarms else "–")
                + f" | {np.median([row['seconds'] for row in mine]):.1f} |"
            )
        text.append("")
    text += [
        "Commands:",
        "",
        *sorted({f"    {row['command']}" for row in rows}),
        "",
        "Machine: " + rows[-1]["machine"] + ".",
    ]
    text += ["", "knn: three nearest neighbours on raw pixels; pca: 30 components; pixel: mean squared z-score; all on "
             "every training image of the class. adacl without settings is the default of the version that ran it: "
             "batch normalisation, the epoch chosen by created anomalies; bcae1 likewise: a code of 96 channels. "
             "Seconds were taken while other work shared the machine."]  # fmt: skip
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="pairs")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    settings = {"epochs": options.epochs} if options.epochs else {}
    done = {tuple(json.loads(line)[key] if key != "settings" else json.dumps(json.loads(line)[key])
                  for key in ("dataset", "method", "normal", "seed", "settings"))
            for line in (LINES.read_text().splitlines() if LINES.exists() else [])}  # fmt: skip
    command = "python benchmarks/one_class.py " + " ".join(sys.argv[1:])
    for method in options.methods:
        if method not in BASELINES:
            settings |= parse_settings(get_method(method), options.pairs)
        for seed in options.seeds if method not in BASELINES else [0]:
            for normal in range(10):
                own = {} if method in BASELINES else settings
                if (options.dataset, method, normal, seed, json.dumps(own)) in done:
                    continue
                line = {"dataset": options.dataset, "method": method, "normal": normal, "seed": seed, "settings": own}
                if method in BASELINES:
                    line |= run_baseline(options.dataset, method, normal)
                else:
                    line |= run_method(options.dataset, method, normal, seed, settings)
                line |= {"machine": versions.machine(), "amiss": amiss.__version__, "command": command}
                with LINES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                    os.fsync(file.fileno())
                print(
                    f"{options.dataset} {method} {normal} seed {seed}: {line['auroc']:.4f} in {line['seconds']:.0f} s",
                    flush=True,
                )
    if options.table:
        (RESULTS / "one_class.md").write_text(table())


if __name__ == "__main__":
    main()
