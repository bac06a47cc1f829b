"""The default and what it is made of, on sets of three kinds: quality, promise, time, size and memory.

    python benchmarks/default.py --work FOLDER [--sets NAME ...] [--rows NAME ...]
    python benchmarks/default.py --table

Every set holds at most 200 normal images to learn from (see default_sets.py), written to FOLDER once. A cell is one
row on one set, in a process of its own; it appends a line to results/default.jsonl and is not repeated, so a broken run
goes on where it stopped. Choices were made on these sets: no figure here is of a set that was kept aside.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from default_sets import SETS

import amiss
from amiss.environment import machine, versions
from amiss.evaluation import evaluate_model
from amiss.registry import get_method
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "default.jsonl"
#: Method and settings of each row.
ROWS: dict[str, tuple[str, list[str]]] = {
    "default (normal)": ("panel", []),
    "quick": ("panel", ["members=patch_memory,dfm"]),
    "best": ("panel", ["members=patch_memory,dfm,pca,knn,located_adacl"]),
    "default, features=none": ("panel", ["features=none"]),
    "patch_memory": ("patch_memory", []),
    "dfm": ("dfm", []),
    "padim": ("padim", ["features=auto"]),
    "patch_memory, features=none": ("patch_memory", ["features=none"]),
    "located_adacl": ("located_adacl", []),
    "pca": ("pca", []),
    "knn": ("knn", []),
    "pixel_zscore": ("pixel_zscore", []),
}
#: Variables that keep torch from using what the processor can do; a line says where they were set.
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def measure(row: str, folder: Path) -> dict[str, Any]:
    method, pairs = ROWS[row]
    kind = get_method(method)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(**parse_settings(kind, pairs)).fit(folder / "good").model_
    seconds = time.perf_counter() - start
    file = model.save(folder / "model.amiss")
    size = file.stat().st_size
    model = amiss.load(file)
    test = sorted(str(path) for path in (folder / "test" / "good").iterdir())
    start = time.perf_counter()
    model.score(test)
    rate = len(test) / (time.perf_counter() - start)
    metrics = evaluate_model(model, folder / "test", repeats=1).metrics
    file.unlink()
    places = metrics["localisation"] or {}
    return {
        "auroc": metrics["auroc"]["value"],
        "pixel_auroc": places.get("pixel_auroc"),
        "au_pro": places.get("au_pro"),
        "false_alarms": metrics["false_alarm_rate"]["achieved"],
        "recall": metrics["recall"]["value"],
        "fit_seconds": round(seconds, 1),
        "images_per_second": round(rate, 1),
        "model_mb": round(size / 1e6, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "size": list(model.preprocessing.shape),
        "learnt": model.record.splits.train.count,
        "n": [metrics["n_normal"], metrics["n_anomalous"]],
    }


def run(work: Path, sets: list[str], rows: list[str]) -> None:
    done = {(line["row"], line["set"]) for line in read()}
    for row in rows:
        for name in sets:
            if (row, name) in done:
                continue
            folder = work / name.replace(", ", "-").replace(" ", "-")
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                SETS[name](partial)
                partial.rename(folder)
            command = [sys.executable, __file__, "--cell", row, "--folder", str(folder)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode:
                print(f"{row} on {name} failed: {found.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            line = {"row": row, "set": name, **json.loads(found.stdout.splitlines()[-1])}
            line |= {"cpu": machine.cpu_name(), "cores": os.cpu_count(), "versions": versions.installed()}
            line["limits"] = {name: os.environ[name] for name in _LIMITS if name in os.environ}
            with LINES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(row, "|", name, "|", f"AUROC {100 * line['auroc']:.1f}, fit {line['fit_seconds']} s", flush=True)


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()] if LINES.exists() else []


def table() -> str:
    """The markdown page of all lines."""
    lines = read()
    cells = {(line["row"], line["set"]): line for line in lines}
    rows = [row for row in ROWS if any(row == line["row"] for line in lines)]
    sets = [name for name in SETS if any(name == line["set"] for line in lines)]
    machines = sorted({line["cpu"] for line in lines})
    text = [
        "# The default, on sets of three kinds",
        "",
        "Written by `python benchmarks/default.py --work FOLDER`, then `--table`; seed 0. Every set has at most 200 "
        "normal images to learn from. Magnet tiles: three divisions by tile of train and dev; test is not among them. "
        "Brick, gravel, coffee, motorcycle, coins: photographs of scikit-image with drawn defects. Garments, digits, "
        "cifar-10 (JPEG copy): one class normal. Ped2: single frames of the test clips 1 to 6. **The members, their "
        "settings and their weights were chosen on such sets**: these figures say how, not how it does elsewhere.",
        "",
        f"Machine: {'; '.join(machines)}; beside other work for a part of the time, so times are too long.",
        "",
        "## Image AUROC, %",
        "",
        "| set | " + " | ".join(rows) + " |",
        "|" + " --- |" * (len(rows) + 1),
    ]
    for name in sets:
        found = {row: cells.get((row, name)) for row in rows}
        best = max(line["auroc"] for line in found.values() if line)
        text.append(f"| {name} | " + " | ".join(_auroc(found[row], best) for row in rows) + " |")
    means = [_mean([cells[row, name]["auroc"] for name in sets if (row, name) in cells], len(sets)) for row in rows]
    text += ["| **mean** | " + " | ".join(means) + " |", "", "## What else", ""]
    columns = ("pixel AUROC", "AU-PRO", "false alarms at 1 %", "fit, s", "images/s", "model, MB", "peak memory, MB")
    text += ["| row | " + " | ".join(columns) + " |", "|" + " --- |" * (len(columns) + 1)]
    for row in rows:
        own = [line for line in lines if line["row"] == row]

        def over(key: str, scale: float = 1, digits: int = 1, own: list[dict[str, Any]] = own) -> str:
            values = [line[key] for line in own if line[key] is not None]
            return f"{scale * np.mean(values):.{digits}f}" if values else "–"

        text.append(
            f"| {row} | {over('pixel_auroc', 100)} | {over('au_pro', 100)} | {over('false_alarms', 100)} % | "
            f"{over('fit_seconds', 1, 0)} | {over('images_per_second', 1, 0)} | {over('model_mb')} | "
            f"{over('peak_mb', 1, 0)} |"
        )
    return "\n".join(text) + "\n"


def _auroc(line: dict[str, Any] | None, best: float) -> str:
    if line is None:
        return "–"
    value = f"{100 * line['auroc']:.1f}"
    return f"**{value}**" if line["auroc"] == best else value


def _mean(values: list[float], expected: int) -> str:
    return f"{100 * np.mean(values):.1f}" if len(values) == expected else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the sets")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rows", nargs="*", default=[row for row in ROWS if "adacl" not in row and row != "best"])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--cell")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(measure(given.cell, given.folder)))
    elif given.table:
        (RESULTS / "default.md").write_text(table(), encoding="utf-8")
    elif given.work:
        given.work.mkdir(parents=True, exist_ok=True)
        run(given.work, given.sets, given.rows)
    else:
        parser.error("give --work FOLDER, or --table")


if __name__ == "__main__":
    main()
