"""Frame scores on UCSD Ped2: the causal, raw figure beside the papers' normalised one, events, and speed.

    python benchmarks/video.py frame_difference --set size=native
    python benchmarks/video.py motion_adacl motion_memory --seeds 0 1 2
    python benchmarks/video.py panel --set members=motion_adacl,motion_memory --seeds 0 1 2
    python benchmarks/video.py recurrent --set cell=gru --set shape=autoencoder --set size=128x128 --epochs 10
    python benchmarks/video.py --table

Each fit appends a line to results/video.jsonl and is not repeated; `--table` writes results/video.md. Settings of
motion_memory, and which methods the panel fuses, were chosen on the clips Test001 to Test006, so figures of Test007 to
Test012 stand beside; nothing else was chosen on test clips but what a line's name says. Frames a second are of decoding
and scoring on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.data.clips import video_of
from amiss.environment import versions
from amiss.evaluation import evaluate_model
from amiss.metrics import Ranking
from amiss.registry import get_method
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "video.jsonl"
DATA = "ucsd-ped2"
SEEDLESS = ("pca", "knn", "pixel_zscore", "gradient", "frame_difference")
_RATE = 25
#: The last of the test clips on which settings were chosen.
_CHOSEN_ON = "Test006"
#: What the papers print of Ped2, AUROC and EER in % (RAVI tables 4.8, 4.9 and 4.13, there for normalised scores; ALPS
#: table II; ADACL, thesis table 4.2; G2D table 1): the first whose words all stand in a row's name.
_PRINTED = (
    (("cell=rnn", "autoencoder", "layers=1", "plain"), "83 / 26"),
    (("cell=lstm", "autoencoder", "layers=1", "plain"), "86 / 22"),
    (("cell=gru", "autoencoder", "layers=1", "plain"), "86 / 21"),
    (("cell=gru", "bidirectional", "layers=1", "plain"), "84 / 25"),
    (("cell=lstm", "seq2seq", "layers=2", "decoder=recurrent"), "83 / 25"),
    (("cell=gru", "seq2seq", "layers=2", "decoder=recurrent"), "86 / 20"),
    (("bcae1", "svdd"), "88.9 / 19.4"),
    (("bcae1",), "83.9 / 26.5"),
    (("ssa_cae",), "88.1 / 18.8"),
    (("alps", "patch=30"), "98.2 / 6"),
    (("motion_adacl",), "–"),
    (("adacl", "patch=30"), "98.4 / 5"),
    (("g2d", "patch=30"), "– / 11"),
)


def run(method: str, seed: int, pairs: list[str]) -> dict[str, Any]:
    kind = get_method(method)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = kind(seed=seed, **parse_settings(kind, pairs)).fit(f"{DATA}:train")
    fitted = time.perf_counter()
    metrics = evaluate_model(detector.model_, f"{DATA}:test", repeats=200).metrics
    count = metrics["n_normal"] + metrics["n_anomalous"]
    start_scoring = time.perf_counter()
    scores = detector.score(f"{DATA}:test").scores
    scored = time.perf_counter()
    fits = [stage for stage in detector.training_["stages"] if stage["epochs"] > 1]
    return {
        "auroc": metrics["auroc"],
        "auroc_causal": metrics["auroc_causal"],
        "auroc_normalised": metrics["auroc_normalised"],
        "halves": _halves(scores),
        "eer": metrics["eer"]["value"],
        "localisation": metrics["localisation"],
        "events": metrics["events"],
        "videos": {name: each and each["value"] for name, each in metrics["videos"].items()},
        "false_alarms": metrics["false_alarm_rate"]["achieved"],
        "size": list(detector.preprocessing_.shape),
        "epochs": [stage["epochs"] for stage in fits],
        "stop": [[figure.get("stop") for figure in stage["figures"]] for stage in fits],
        "fit_seconds": round(fitted - start, 1),
        "frames_per_second": round(count / (scored - start_scoring), 1),
    }


def _halves(scores: np.ndarray) -> dict[str, float]:
    """Raw AUROC of the frames of those test clips on which settings were chosen, and of the others."""
    items = list(amiss.open_images(f"{DATA}:test"))
    anomalous = np.array([bool(item.anomalous) for item in items])
    chosen = np.array([video_of(item) <= _CHOSEN_ON for item in items])
    parts = {"chosen": chosen, "others": ~chosen}
    return {name: float(Ranking(scores[part], anomalous[part]).auroc()) for name, part in parts.items()}


def table() -> str:
    rows = [json.loads(line) for line in LINES.read_text().splitlines()]
    text = [
        "# Video: UCSD Ped2",
        "",
        "Frame AUROC in %, over all 2,010 frames of the 12 test clips (1,648 anomalous); the frames are a JPEG copy. "
        "*Raw* is the score as it is, *causal* its mean over the last 9 frames, both of which a live system has. "
        "*Normalised* is the papers' way: scaled by the extremes of each whole test clip, its anomalies included, and "
        "smoothed over 15 frames; nothing live can reach it. Means over seeds (± standard deviation). Settings of "
        "motion_memory and the members of panel were chosen on the raw figure of Test001 to Test006, *001-006*, so "
        "*007-012* is the one to go by; a dash where it was not measured.",
        "",
        "| method | seeds | raw | raw, 001-006 | raw, 007-012 | causal | normalised | "
        "printed: AUROC / EER | EER, raw | pixel AUROC | events found of 12 | false events | "
        "size | epochs | flattened | fit, s | frames/s | times real time |",
        "|" + " --- |" * 18,
    ]
    names = sorted({row["name"] for row in rows}, key=lambda name: -_mean(rows, name, "auroc"))
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        cells = [
            name,
            "–" if mine[0]["method"] in SEEDLESS else str(len(mine)),
            _spread([row["auroc"]["value"] for row in mine]),
            *(_half(mine, part) for part in ("chosen", "others")),
            *(_spread([row[key]["value"] for row in mine]) for key in ("auroc_causal", "auroc_normalised")),
            next((printed for words, printed in _PRINTED if all(word in name for word in words)), "–"),
            f"{100 * np.mean([row['eer'] for row in mine]):.1f}",
            "–" if mine[0]["localisation"] is None
            else f"{100 * np.mean([row['localisation']['pixel_auroc'] for row in mine]):.1f}",
            f"{np.mean([row['events']['detected'] for row in mine]):.1f}",
            f"{np.mean([row['events']['false'] for row in mine]):.1f}",
            "x".join(map(str, mine[0]["size"][1:])),
            ", ".join(map(str, mine[0]["epochs"])) or "–",
            ", ".join(_flattened(stop) for stop in mine[0]["stop"]) or "–",
            _median(mine, "fit_seconds", ".0f"),
            _median(mine, "frames_per_second", ".0f"),
            _median(mine, "frames_per_second", ".1f", _RATE),
        ]  # fmt: skip
        text.append("| " + " | ".join(cells) + " |")
    text += [
        "",
        "*Flattened*: the error on held-out normal clips fell by less than 2 % over the last fifth of the epochs. "
        "No times: the run shared the cores with much other work.",
        "",
        "Commands:",
        "",
        *sorted({f"    {row['command']}" for row in rows}),
        "",
        f"Machine: {', '.join(sorted({row['machine'] for row in rows}))}; one core, other work beside it.",
    ]
    return "\n".join(text) + "\n"


def _mean(rows: list[dict[str, Any]], name: str, key: str) -> float:
    return float(np.mean([row[key]["value"] for row in rows if row["name"] == name]))


def _median(rows: list[dict[str, Any]], key: str, digits: str, unit: float = 1) -> str:
    """Of the runs whose time was measured: lines of runs beside much other work hold none."""
    known = [row[key] for row in rows if row[key] is not None]
    return format(np.median(known) / unit, digits) if known else "–"


def _half(rows: list[dict[str, Any]], part: str) -> str:
    return _spread([row["halves"][part] for row in rows]) if all("halves" in row for row in rows) else "–"


def _spread(values: list[float]) -> str:
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def _flattened(stop: list[float | None]) -> str:
    known = [value for value in stop if value is not None]
    if len(known) < 5:
        return "too few epochs"
    before = known[-1 - max(1, len(known) // 5)]
    return "yes" if min(known) > 0.98 * min(known[: known.index(before) + 1]) else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", dest="pairs", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--untimed", action="store_true", help="leave times out, where other work shares the machine")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    done = set()
    if LINES.exists():
        done = {(row["name"], row["seed"]) for row in map(json.loads, LINES.read_text().splitlines())}
    pairs = [*options.pairs, *([f"epochs={options.epochs}"] if options.epochs else [])]
    command = "python benchmarks/video.py " + " ".join(each for each in sys.argv[1:] if each != "--untimed")
    for method in options.methods:
        name = " ".join([method, *options.pairs])
        for seed in [0] if method in SEEDLESS else options.seeds:
            if (name, seed) in done:
                continue
            line = {"name": name, "method": method, "seed": seed} | run(method, seed, pairs)
            seconds = line["fit_seconds"]
            if options.untimed:
                line |= {"fit_seconds": None, "frames_per_second": None}
            line |= {"machine": versions.machine(), "amiss": amiss.__version__, "command": command}
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
                os.fsync(file.fileno())
            print(f"{name} seed {seed}: {line['auroc']['value']:.4f} in {seconds:.0f} s", flush=True)
    if options.table:
        (RESULTS / "video.md").write_text(table())


if __name__ == "__main__":
    main()
