"""Small defects on magnet tiles: image AUROC by kind of defect, pixel AUROC, AU-PRO, and what a fit costs.

    python benchmarks/small_defects.py located_adacl --seeds 0 1 2 --set vary=flip,light
    python benchmarks/small_defects.py pca knn gradient pixel_zscore
    python benchmarks/small_defects.py patch_memory --set features=FILE --name 'patch_memory on MobileNetV2'
    python benchmarks/small_defects.py located_adacl --set vary=flip,light --labelled 0 1 5 10 50
    python benchmarks/small_defects.py patch_memory --set features=FILE --impure 0 1 5 10
    python benchmarks/small_defects.py padim pyod_autoencoder --rivals PYTHON
    python benchmarks/small_defects.py --table

With `--labelled`, so many defects with their masks are learnt from. They are those of tiles of `dev` that are set
aside for this, the same for every number, and figures are of the other tiles of `dev`. With `--impure`, so many percent
of the images that are learnt from as good are such defects. `--rivals` names a Python that has anomalib and pyod.

The split is that of groups.csv: six exposures of one tile stay together. Choices are made on `dev`, the default;
`--part test` is for the last run, and `--part leaking` the random division of papers, where exposures of one tile
are on both sides. Each fit appends a line to results/small_defects.jsonl and is not repeated, so a
broken run goes on where it stopped; `--table` writes results/small_defects.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rival_runs

import amiss
from amiss.calibration import smoothed
from amiss.data import Collection
from amiss.data.stack import load_stack
from amiss.environment import versions
from amiss.evaluation import evaluate_model
from amiss.model import FittedModel
from amiss.registry import get_method
from amiss.settings import parse_settings

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "small_defects.jsonl"
KINDS = ("blowhole", "break", "crack", "fray", "uneven")
_SET_ASIDE, _IMPURE = 50, 60
#: A division image by image, and the share of the good ones that is learnt from (Roth et al. 2022, section 4.5).
LEAKING, _LEARNT = "leaking", 0.8
SEEDLESS = ("pca", "knn", "gradient", "pixel_zscore", "ocsvm")


def set_aside(count: int, pool_size: int = _SET_ASIDE) -> tuple[Collection, Collection]:
    """The first `count` of some defects of `dev`, kinds in turn, and the images of all tiles that hold none of them."""
    dev = amiss.open_images("magnetic-tile:dev", "eval")
    groups = sorted({item.group for item in dev if item.anomalous and item.group})
    order = np.random.default_rng(0).permutation(len(groups))
    taken: set[str] = set()
    for number in order:
        if sum(bool(item.anomalous) and item.group in taken for item in dev) >= pool_size:
            break
        taken.add(groups[number])
    pool = [item for item in dev if item.anomalous and item.group in taken]
    by_kind = {kind: [item for item in pool if item.kind == kind] for kind in KINDS}
    turns = [item for items in itertools.zip_longest(*by_kind.values()) for item in items if item is not None]
    if len(turns) < count:
        raise SystemExit(f"{count} defects are asked for, and {len(turns)} are set aside")
    return Collection(turns[:count], "defects set aside"), dev.where(lambda item: item.group not in taken)


def measure(model: FittedModel, images: Collection) -> dict[str, Any]:
    """Figures on tiles that nothing was learnt from."""
    metrics = evaluate_model(model, images, repeats=1).metrics
    good = images.where(lambda item: not item.anomalous)
    scale = model.map_scale
    shown = None
    if scale is not None:
        maps = [row.map for row in model.rows(good) if row.map is not None]
        shown = float(np.mean([smoothed(each).max() > scale.threshold for each in maps]))
    return {
        "auroc": metrics["auroc"]["value"],
        "kinds": {kind: each["auroc"]["value"] for kind, each in metrics["kinds"].items()},
        **(metrics["localisation"] or {"pixel_auroc": None, "au_pro": None}),
        "false_alarms": metrics["false_alarm_rate"]["achieved"],
        "good_maps_showing": shown,
        "n": [metrics["n_normal"], metrics["n_anomalous"]],
    }


def image_by_image() -> tuple[Collection, Collection]:
    """All tiles divided as papers do: of the good images four in five to learn from, at random; the rest, and all
    defects, to test on. Exposures of one tile fall on both sides, so the figures are of tiles that have been seen."""
    parts = [amiss.open_images(f"magnetic-tile:{part}", "eval") for part in ("train", "dev", "test")]
    items = [dataclasses.replace(item, group=None) for part in parts for item in part]
    good = [item for item in items if not item.anomalous]
    order = np.random.default_rng(0).permutation(len(good))
    learnt = set(order[: round(_LEARNT * len(good))].tolist())
    normal = [item for number, item in enumerate(good) if number in learnt]
    test = [item for number, item in enumerate(good) if number not in learnt]
    return Collection(normal, "good tiles"), Collection([*test, *(item for item in items if item.anomalous)], "tiles")


def run(
    method: str, seed: int, pairs: list[str], part: str, labelled: int | None, impure: int | None
) -> dict[str, Any]:
    kind = get_method(method)
    anomalies = None
    if part == LEAKING:
        normal, images = image_by_image()
    else:
        normal, images = (
            amiss.open_images("magnetic-tile:train", "fit"),
            amiss.open_images(f"magnetic-tile:{part}", "eval"),
        )
    if impure is not None:
        bad, images = set_aside(round(len(normal) * impure / (100 - impure)), _IMPURE)
        taken_for_good = [dataclasses.replace(item, anomalous=False, kind=None) for item in bad]
        normal = Collection([*normal, *taken_for_good], normal.title)
    if labelled is not None:
        known, images = set_aside(labelled)
        anomalies = known if len(known) else None
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(seed=seed, **parse_settings(kind, pairs)).fit(normal, anomalies=anomalies).model_
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    figures = measure(model, images)
    return {
        **figures,
        "size": list(model.preprocessing.shape),
        "fit_seconds": round(seconds, 1),
        "score_seconds": round(time.perf_counter() - start, 1),
        "members": model.record.training.members() or None,
    }


def run_rival(method: str, seed: int, part: str, python: str) -> dict[str, Any]:
    """The same figures of another library's method, which learns from training and stop part of the same split."""
    fitted = get_method("pca")().fit("magnetic-tile:train").model_  # for its preprocessing
    known = set(fitted.record.splits.calibrate.images)
    learnt = load_stack(amiss.open_images("magnetic-tile:train", "fit").normal, fitted.preprocessing)
    stack = load_stack(amiss.open_images(f"magnetic-tile:{part}", "eval"), fitted.preprocessing)
    with tempfile.TemporaryDirectory() as name:
        train, test = Path(name, "train.npy"), Path(name, "test.npy")
        np.save(train, learnt.images[[digest not in known for digest in learnt.digests]])
        np.save(test, stack.images)
        found = rival_runs.run_rival(python, method, train, test, seed)
    labels = np.array([bool(item.anomalous) for item in stack.items])
    kinds = np.array([item.kind for item in stack.items])
    return {
        "auroc": rival_runs.auroc(found.scores, labels),
        "kinds": {
            kind: rival_runs.auroc(found.scores[chosen], labels[chosen])
            for kind in KINDS
            for chosen in [~labels | (kinds == kind)]
        },
        **rival_runs.places(found, stack.items, fitted.preprocessing),
        "false_alarms": None,
        "good_maps_showing": None,
        "n": [int((~labels).sum()), int(labels.sum())],
        "size": list(fitted.preprocessing.shape),
        "fit_seconds": found.facts["fit_seconds"],
        "score_seconds": None,
        "members": None,
    }


def table() -> str:
    """The markdown tables of all lines, mean over seeds."""
    rows = [json.loads(line) for line in LINES.read_text().splitlines()]
    text = [
        "# Small defects: magnet tiles",
        "",
        "AUROC in %, mean over seeds (± standard deviation); the split of groups.csv, in which six exposures of one "
        "tile stay together. Choices were made on `dev`; `test` was run once a method and seed.",
        "",
    ]
    titles = {
        "test": "test",
        LEAKING: "leaking: divided image by image, as papers do, so that exposures of one tile are on both sides",
        "dev": "dev",
        "dev, labelled": "Labelled defects: the tiles of dev that are not set aside",
        "dev, impure": "Defects among the images that are learnt from as good: the tiles of dev that are not set aside",
    }
    for part, title in titles.items():
        here = [row for row in rows if row["part"] == part]
        if not here:
            continue
        normal, bad = here[0]["n"]
        text += [
            f"## {title}: {normal} good tiles, {bad} with a defect",
            "",
            "| method | seeds | image | "
            + " | ".join(KINDS)
            + " | pixel | AU-PRO | false alarms at 1 % | good tiles whose "
            "map shows something | seconds a fit |",
            "|" + " --- |" * 13,
        ]
        names = sorted(
            {row["name"] for row in here}, key=lambda n: -_mean([r["auroc"] for r in here if r["name"] == n])
        )
        for name in names:
            mine = [row for row in here if row["name"] == name]
            image = [row["auroc"] for row in mine]
            spread = f" ± {100 * np.std(image, ddof=1):.1f}" if len(image) > 1 else ""
            cells = [
                name,
                "–" if mine[0]["method"] in SEEDLESS else str(len(mine)),
                f"{100 * _mean(image):.1f}{spread}",
                *(_percent([row["kinds"].get(kind) for row in mine]) for kind in KINDS),
                _percent([row["pixel_auroc"] for row in mine]),
                _percent([row["au_pro"] for row in mine]),
                _percent([row["false_alarms"] for row in mine]),
                _percent([row["good_maps_showing"] for row in mine]),
                f"{np.median([row['fit_seconds'] for row in mine]):.0f}",
            ]
            text.append("| " + " | ".join(cells) + " |")
        text.append("")
    text += ["Commands:", "", *sorted({f"    {row['command']}" for row in rows}), ""]
    text += [f"Machine: {', '.join(sorted({row['machine'] for row in rows}))}. Seconds were taken on "
             "one core while other work shared the machine."]  # fmt: skip
    return "\n".join(text) + "\n"


def _mean(values: list[Any]) -> float:
    return float(np.mean(values))


def _percent(values: list[Any]) -> str:
    return "–" if any(value is None for value in values) else f"{100 * _mean(values):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--part", choices=("dev", "test", LEAKING), default="dev")
    parser.add_argument("--set", dest="pairs", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--labelled", type=int, nargs="+", default=[None], help="numbers of labelled defects")
    parser.add_argument("--impure", type=int, nargs="+", default=[None], help="percent of defects among the good")
    parser.add_argument("--name", help="what the table calls it; without it, the method and its settings")
    parser.add_argument("--rivals", metavar="PYTHON", help="the methods are of rivals.py, run by this interpreter")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    shown = ["FILE" if pair.startswith("features=") else pair for pair in options.pairs]
    lines = LINES.read_text().splitlines() if LINES.exists() else []
    done = {(row["name"], row["seed"], row["part"]) for row in map(json.loads, lines)}
    command = "python benchmarks/small_defects.py " + " ".join(
        "features=FILE"
        if word.startswith("features=")
        else "PYTHON"
        if word == options.rivals
        else f"'{word}'"
        if " " in word
        else word
        for word in sys.argv[1:]
    )
    for method, labelled, impure in itertools.product(options.methods, options.labelled, options.impure):
        name = options.name or " ".join([method, *shown])
        part = options.part
        if labelled is not None:
            name, part = f"{name}, {labelled} labelled", "dev, labelled"
        if impure is not None:
            name, part = f"{name}, {impure} % impure", "dev, impure"
        for seed in [0] if method in SEEDLESS else options.seeds:
            if (name, seed, part) in done:
                continue
            line = {"name": name, "method": method, "settings": shown, "seed": seed, "part": part}
            if options.rivals:
                line |= run_rival(method, seed, part, options.rivals)
            else:
                line |= run(method, seed, options.pairs, options.part, labelled, impure)
            line |= {"machine": versions.machine(), "amiss": amiss.__version__, "command": command}
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
                os.fsync(file.fileno())
            print(f"{name} seed {seed}, {part}: {line['auroc']:.4f} in {line['fit_seconds']:.0f} s", flush=True)
    if options.table:
        (RESULTS / "small_defects.md").write_text(table())


if __name__ == "__main__":
    main()
