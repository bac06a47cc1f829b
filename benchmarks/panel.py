"""The panel beside each of its members, from one fit: is it near the best one, whatever the images?

    python benchmarks/panel.py mnist:3 fashion-mnist:3 cifar-10:7
    python benchmarks/panel.py magnetic-tile --set vary=flip,light
    python benchmarks/panel.py --table

`SET:CLASS` takes that class for normal, all others of the test set are anomalous (4,000 of its images);
`magnetic-tile` is scored on its part `dev`. The rule (weights by created anomalies, squared) was chosen on classes 3
and 7 of the three sets and on `dev`; other classes were not looked at. Lines go to results/panel.jsonl, `--table`
writes results/panel.md.
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
import torch

import amiss
from amiss.data.preprocessing import to_float
from amiss.data.stack import load_stack
from amiss.environment import versions
from amiss.methods.panel import Panel
from amiss.metrics import Ranking
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "panel.jsonl"
MOST_IMAGES = 4000
CHOSEN_ON = {
    "magnetic-tile",
    *(f"{name}:{digit}" for name in ("mnist", "fashion-mnist", "cifar-10") for digit in (3, 7)),
}


def run(target: str, seed: int, pairs: list[str]) -> dict[str, Any]:
    name, _, digit = target.partition(":")
    train, test = (f"{name}:{part}:normal={digit}" if digit else f"{name}:{part}" for part in ("train", "test"))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Panel(seed=seed, **parse_settings(Panel, pairs)).fit(train).model_
    seconds = time.perf_counter() - start
    images = amiss.open_images(test if digit else f"{name}:dev", "eval")
    if len(images) > MOST_IMAGES:
        chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:MOST_IMAGES])
        images = amiss.Collection([images[int(index)] for index in chosen], images.title)
    stack = load_stack(images, model.preprocessing)
    labels = np.array([bool(item.anomalous) for item in stack.items])
    scorer: Any = model.torch_scorer()
    scores = []
    with torch.inference_mode():
        for begin in range(0, len(stack.images), 64):
            outputs = scorer.member_outputs(torch.from_numpy(to_float(stack.images[begin : begin + 64])))
            scores.append(torch.stack([output["score"] for output in outputs]))
    members = dict(zip(scorer.members, torch.cat(scores, dim=1).numpy(), strict=True))
    fused = model.run(stack.images).scores
    return {
        "panel": float(Ranking(fused, labels).auroc()),
        "members": {each: float(Ranking(own, labels).auroc()) for each, own in members.items()},
        "facts": model.record.training.members(),
        "seconds": round(seconds, 1),
        "n": [int((~labels).sum()), int(labels.sum())],
    }


def table() -> str:
    rows = [json.loads(line) for line in LINES.read_text().splitlines()]
    names = list(rows[0]["members"])
    text = [
        "# The panel and its members",
        "",
        "AUROC in % on images that nothing was learnt from, seed 0; in brackets the member's weight. *Chosen on*: the "
        "rule by which members are weighed was chosen with these anomalies in sight.",
        "",
        "| set | " + " | ".join(names) + " | best member | panel | difference | chosen on | seconds a fit |",
        "|" + " --- |" * (len(names) + 6),
    ]
    for row in sorted(rows, key=lambda row: row["set"]):
        best = max(row["members"].values())
        weights = {each["name"]: each["weight"] for each in row["facts"]}
        cells = [f"{100 * row['members'][name]:.1f} ({weights[name]:.2f})" for name in names]
        chosen = "yes" if row["set"] in CHOSEN_ON else "no"
        text.append(
            f"| {row['set']} | {' | '.join(cells)} | {100 * best:.1f} | {100 * row['panel']:.1f} | "
            f"{100 * (row['panel'] - best):+.1f} | {chosen} | {row['seconds']:.0f} |"
        )
    text += ["", "Commands:", "", *sorted({f"    {row['command']}" for row in rows}), ""]
    text += [f"Machine: {', '.join(sorted({row['machine'] for row in rows}))}. Seconds were taken on one core."]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="SET[:CLASS]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="pairs", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    done = {json.loads(line)["set"] for line in (LINES.read_text().splitlines() if LINES.exists() else [])}
    for target in options.targets:
        if target in done:
            continue
        line = {"set": target, "seed": options.seed, "settings": options.pairs}
        line |= run(target, options.seed, options.pairs)
        command = "python benchmarks/panel.py " + " ".join(sys.argv[1:])
        line |= {"machine": versions.machine(), "amiss": amiss.__version__, "command": command}
        with LINES.open("a") as file:
            file.write(json.dumps(line) + "\n")
            os.fsync(file.fileno())
        print(f"{target}: panel {line['panel']:.4f}, {line['members']} in {line['seconds']:.0f} s", flush=True)
    if options.table:
        (RESULTS / "panel.md").write_text(table())


if __name__ == "__main__":
    main()
