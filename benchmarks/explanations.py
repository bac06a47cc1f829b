"""How far explanations can be trusted: every explainer of several detectors, measured on magnet tiles with masks.

    python benchmarks/explanations.py bcae1 --set epochs=20
    python benchmarks/explanations.py located_adacl --set vary=flip,light --set epochs=6
    python benchmarks/explanations.py patch_memory --set features=FILE --name 'patch_memory on MobileNetV2'
    python benchmarks/explanations.py --table

A detector is fitted on magnetic-tile:train; of the anomalies of magnetic-tile:test, 40 chosen at random are explained
(`--images`). The ratio of the times of one perturbation at a time and of batches is of one image, in the same run. Each
run appends a line to results/explanations.jsonl; `--table` writes results/explanations.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import amiss
from amiss.data.preprocessing import to_float
from amiss.environment import versions
from amiss.explain import get_explainer
from amiss.explain.measure import measure_explanations
from amiss.model import FittedModel
from amiss.registry import get_method
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "explanations.jsonl"
COLUMNS = {
    "pixel_auroc": "pixel AUROC",
    "au_pro": "AU-PRO",
    "average_precision": "AP",
    "pointing": "pointing",
    "best_iou": "best IoU",
    "deletion": "deletion ↓",
    "insertion": "insertion ↑",
    "stability": "stability",
    "shuffled": "shuffled ↓",
    "made_normal": "made normal",
    "marked": "marked",
    "milliseconds": "ms",
    "passes": "passes",
    "ratio": "one at a time / batched",
}


def batching_ratio(model: FittedModel, name: str) -> float | None:
    """Seconds with one perturbation at a time over seconds with batches, of one image; None for a single pass."""
    item = amiss.open_images("magnetic-tile:test", "eval")[0]
    image = to_float(model.preprocessing.prepare(item.read()))
    batched = get_explainer(name)().explain(model, image)
    if batched.passes <= 1:
        return None
    return get_explainer(name)(together=1).explain(model, image).seconds / batched.seconds


def run(method: str, pairs: list[str], seed: int, images: int) -> dict[str, Any]:
    kind = get_method(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(seed=seed, **parse_settings(kind, pairs)).fit("magnetic-tile:train").model_
    test = amiss.open_images("magnetic-tile:test", "eval")
    rows = measure_explanations(model, test, ["all"], images=images, seed=seed)
    for row in rows:
        row["ratio"] = batching_ratio(model, row["explainer"])
    return {"size": list(model.preprocessing.shape), "explanations": rows}


def table() -> str:
    lines = [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
    text = [
        "# Explanations, measured",
        "",
        "Magnet tiles (`magnetic-tile`): fitted on `train`, anomalies of `test`, against their masks. Written by",
        "`benchmarks/explanations.py --table`; what the columns mean: [explanations](../docs/explanations.md).",
        "",
    ]
    for line in lines:
        title = line["name"]
        text += [f"## {title}", "", f"Seed {line['seed']}, {line['explanations'][0]['images']} anomalies, input "
                 f"{'×'.join(map(str, line['size']))}, {line['machine']}. `{line['command']}`", ""]  # fmt: skip
        text += ["| explainer | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        text += [
            f"| {row['explainer']}{' †' if row['indifferent'] else ''} | "
            + " | ".join(_cell(key, row) for key in COLUMNS)
            + " |"
            for row in line["explanations"]
        ]
        text.append("")
    text += ["† hardly changes when the model's weights are shuffled: it shows the image rather than the model.", ""]
    return "\n".join(text)


def _cell(key: str, row: dict[str, Any]) -> str:
    value = row[key]
    if value is None:
        return "–"
    if key == "made_normal":
        return f"{round(value * row['flagged'])} of {row['flagged']}"
    return f"{value:.0f}" if key in ("milliseconds", "passes") else f"{value:.1f}" if key == "ratio" else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", nargs="?")
    parser.add_argument("--set", action="append", default=[], dest="pairs", metavar="KEY=VALUE")
    parser.add_argument("--name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.method:
        shown = [f"--set {'features=FILE' if pair.startswith('features=') else pair}" for pair in args.pairs]
        name = args.name or " ".join([args.method, *(pair.removeprefix("--set ") for pair in shown)])
        line = {
            "name": name,
            "method": args.method,
            "seed": args.seed,
            **run(args.method, args.pairs, args.seed, args.images),
            "machine": versions.machine(),
            "amiss": amiss.__version__,
            "command": " ".join(["python benchmarks/explanations.py", args.method, *shown, f"--images {args.images}"]),
        }
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for row in line["explanations"]:
            print(name, {key: row[key] for key in ("explainer", *COLUMNS)}, flush=True)
    if args.table:
        (RESULTS / "explanations.md").write_text(table(), encoding="utf-8")
    if not args.method and not args.table:
        parser.print_help()
        sys.exit(2)


if __name__ == "__main__":
    main()
