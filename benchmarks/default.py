"""The default and what it is made of, on sets of three kinds: quality, promise, time, size and memory.

    python benchmarks/default.py --work FOLDER [--sets NAME ...] [--rows NAME ...]
    python benchmarks/default.py --work FOLDER --peers PYTHON [--sets NAME ...] [--rows NAME ...]
    python benchmarks/default.py --table

With `--peers`, the rows are those of other libraries, which that Python has (see rivals.py).

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

import environments
import numpy as np
import rival_runs
from default_sets import SETS, written

import amiss
from amiss.data.preprocessing import Preprocessing
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
#: Method of rivals.py of each row of another library.
PEERS: dict[str, str] = {
    "anomalib PatchCore, same backbone": "patchcore_lite0",
    "anomalib PatchCore, finer grid": "patchcore_fine_lite0",
    "anomalib PaDiM, same backbone": "padim_lite0",
    "PyOD KNN, same backbone": "pyod_knn_lite0",
    "PyOD AutoEncoder, 32x32 pixels": "pyod_autoencoder",
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


def measure_peer(row: str, folder: Path, python: str) -> dict[str, Any]:
    found = rival_runs.run_rival(python, PEERS[row], folder / "good", folder / "test")
    items = sorted(amiss.open_images(folder / "test", "eval"), key=lambda item: Path(item.name))
    labels = np.array([bool(item.anomalous) for item in items])
    facts, flagged = found.facts, None
    if (threshold := facts.pop("threshold")) is not None:
        flagged = found.scores > threshold
    height, width = facts["size"][1:]
    return {
        "auroc": rival_runs.auroc(found.scores, labels),
        **rival_runs.places(found, items, Preprocessing("rgb", height, width)),
        "false_alarms": None if flagged is None else float(flagged[~labels].mean()),
        "recall": None if flagged is None else float(flagged[labels].mean()),
        **facts,
        "n": [int((~labels).sum()), int(labels.sum())],
    }


def run(work: Path, sets: list[str], rows: list[str], peers: str | None) -> None:
    done = {(line["row"], line["set"]) for line in read()}
    for row in rows:
        for name in sets:
            if (row, name) in done:
                continue
            folder = written(work, name)
            command = [sys.executable, __file__, "--cell", row, "--folder", str(folder)]
            command += ["--peers", peers] if peers else []
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode:
                print(f"{row} on {name} failed: {found.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            line = {"row": row, "set": name, "versions": versions.installed()}
            line |= json.loads(found.stdout.splitlines()[-1])
            line |= {"cpu": machine.cpu_name(), "cores": os.cpu_count()}
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
    rows = [row for row in (*ROWS, *PEERS) if any(row == line["row"] for line in lines)]
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
        "– stands for what has not been measured.",
        "",
        "| set | " + " | ".join(rows) + " |",
        "|" + " --- |" * (len(rows) + 1),
    ]
    for name in sets:
        found = {row: cells.get((row, name)) for row in rows}
        best = max(line["auroc"] for line in found.values() if line)
        text.append(f"| {name} | " + " | ".join(_auroc(found[row], best) for row in rows) + " |")
    aurocs = {row: {name: cells[row, name]["auroc"] for name in sets if (row, name) in cells} for row in rows}
    shared = [name for name in sets if all(name in aurocs[row] for row in rows if row in PEERS)]
    over = [("all sets", sets), (f"the {len(shared)} sets that every row of another library has", shared)]
    over = over[:1] if shared == sets or not shared else over
    for title, wanted in over:
        means = [_mean([found[name] for name in wanted if name in found], len(wanted)) for found in aurocs.values()]
        text.append(f"| **mean of {title}** | " + " | ".join(means) + " |")
    columns = ("pixel AUROC", "AU-PRO", "false alarms at 1 %", "fit, s", "images/s", "model, MB", "peak memory, MB")
    for title, wanted in over:
        text += ["", f"## What else: means of {title}", "", "Of places, of those with masks.", ""]
        text += ["| row | " + " | ".join(columns) + " |", "|" + " --- |" * (len(columns) + 1)]
        text += [_what_else(row, cells, wanted) for row in rows]
    if any(row in PEERS for row in rows):
        text += ["", *_of_peers([line for line in lines if line["row"] in PEERS])]
    return "\n".join(text) + "\n"


def _what_else(row: str, cells: dict[tuple[str, str], dict[str, Any]], sets: list[str]) -> str:
    """The row's means of all figures but image AUROC; a dash where it lacks a set that another row has."""

    def over(key: str, scale: float = 1, digits: int = 1, unit: str = "") -> str:
        wanted = [name for name in sets if any(name == of and line[key] is not None for (_, of), line in cells.items())]
        values = [cells[row, name][key] for name in wanted if cells.get((row, name), {}).get(key) is not None]
        return _mean(values, len(wanted), scale, digits, unit)

    return (
        f"| {row} | {over('pixel_auroc', 100)} | {over('au_pro', 100)} | {over('false_alarms', 100, unit=' %')} | "
        f"{over('fit_seconds', digits=0)} | {over('images_per_second', digits=0)} | {over('model_mb')} | "
        f"{over('peak_mb', digits=0)} |"
    )


def _of_peers(lines: list[dict[str, Any]]) -> list[str]:
    """What has to be known of the other libraries' rows, and how their environment compares."""
    libraries = sorted({f"{name} {version}" for line in lines for name, version in line["versions"].items()})
    differ = max(line.get("features_differ", 0) for line in lines)
    text = [
        "## Other libraries",
        "",
        "Rows of anomalib and PyOD are run by `--peers PYTHON`, which names an environment of their own: "
        f"{', '.join(libraries)}. *Same backbone* is timm's EfficientNet-Lite0 with the weights that amiss uses, at "
        f"256x256 pixels; its features differ from amiss's by at most {differ:.0e} of their largest value. PatchCore "
        "takes the last layers of strides 8 and 16, which are what its layer2 and layer3 are of a ResNet, and amiss's "
        "stages 3 and 5; nine neighbours; and keeps a tenth of the patches: its defaults, but for the grid. Its own is "
        "the finer of the two; four times the patches make sixteen times the fit, so it works on the coarser one here, "
        "as amiss does. *Finer grid*, where it stands, is its own, with a hundredth of the patches. PaDiM takes 100 "
        "channels of strides 4, 8 and 16. PyOD's KNN (fifth neighbour, its default) learns means of the last feature "
        "map; its AutoEncoder, with its own settings, pixels.",
        "",
        "Seconds of these rows are the processor's, on one thread, so that other work does not lengthen them; amiss's "
        "rows are by the clock. Reading and resizing count, imports do not. Freed memory is kept, as amiss keeps it: "
        "PatchCore's choice of patches is several times slower as it comes.",
        "",
        "False alarms: anomalib's threshold is the best F1 among labelled images of both kinds, so there is none where "
        "only normal images are known. PyOD's leaves a share of the images that it learnt from above it, here 1 % (its "
        "default is 10 %).",
    ]
    if environments.FILE.exists():
        text += ["", "| environment | installed, MB | import, s | `--help`, s |", "| --- | --- | --- | --- |"]
        for name, known in json.loads(environments.FILE.read_text(encoding="utf-8")).items():
            asked = "–" if known["help_seconds"] is None else f"{known['help_seconds']:.1f}"
            text.append(f"| {name} | {known['mb']} | {known['import_seconds']:.1f} (`{known['import']}`) | {asked} |")
        text += [
            "",
            "Torch is that for CPUs alone; amiss loads it when a fit begins. By `benchmarks/environments.py`.",
        ]
    return text


def _auroc(line: dict[str, Any] | None, best: float) -> str:
    if line is None:
        return "–"
    value = f"{100 * line['auroc']:.1f}"
    return f"**{value}**" if line["auroc"] == best else value


def _mean(values: list[float], expected: int, scale: float = 100, digits: int = 1, unit: str = "") -> str:
    return f"{scale * np.mean(values):.{digits}f}{unit}" if expected and len(values) == expected else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the sets")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rows", nargs="*", choices=[*ROWS, *PEERS])
    parser.add_argument("--peers", metavar="PYTHON", help="the rows are those of other libraries, run by this Python")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--cell")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.cell:
        cell = measure_peer(given.cell, given.folder, given.peers) if given.peers else measure(given.cell, given.folder)
        print(json.dumps(cell))
    elif given.table:
        (RESULTS / "default.md").write_text(table(), encoding="utf-8")
    elif given.work:
        given.work.mkdir(parents=True, exist_ok=True)
        usual = list(PEERS) if given.peers else [row for row in ROWS if "adacl" not in row and row != "best"]
        run(given.work, given.sets, given.rows or usual, given.peers)
    else:
        parser.error("give --work FOLDER, or --table")


if __name__ == "__main__":
    main()
