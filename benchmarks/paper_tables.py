"""The papers' tables on data that is here. A row is a fit, kept in results/tables.jsonl: a broken run goes on.

    python benchmarks/paper_tables.py perturbation --seeds 0     # ALPS tables I and III
    python benchmarks/paper_tables.py negative few-labels         # ADNL table 1, and with few labels
    python benchmarks/paper_tables.py outliers                    # G2D, F1 by share of outliers
    python benchmarks/paper_tables.py parts                       # RAVI's parts on magnet tiles, one by one
    python benchmarks/paper_tables.py --render                    # results/tables.md

Compared fits of one seed share splits and the order of their batches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.data import Collection
from amiss.data.protocols import few_labels, one_anomalous, outliers
from amiss.detectors.detector import Detector
from amiss.environment import versions
from amiss.metrics import Ranking
from amiss.registry import get_method
from amiss.settings import as_text

RESULTS = Path(__file__).parent.parent / "results"
LINES = RESULTS / "tables.jsonl"


@dataclass(frozen=True)
class Job:
    """One fit: its row in the table, what identifies it, and how it is measured."""

    table: str
    row: str
    case: str
    seed: int
    method: str
    settings: dict[str, Any]
    run: Callable[[Job], dict[str, Any]] = field(compare=False)

    @property
    def kept_settings(self) -> dict[str, Any]:
        """The settings as the lines hold them."""
        return as_text(get_method(self.method), self.settings)

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        return (self.table, self.row, self.case, self.seed, json.dumps(self.kept_settings, sort_keys=True))


def fitted(job: Job, train: Any, **options: Any) -> tuple[Detector[Any], dict[str, Any]]:
    """A fit with what it cost."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", amiss.errors.DegenerateTrainingWarning)  # the notes keep them
        detector = get_method(job.method)(seed=job.seed, **job.settings).fit(train, **options)
    seconds = time.perf_counter() - start
    weights = sum(value.numel() for value in detector.model_.torch_scorer().state_dict().values())
    stages = detector.training_["stages"]
    return detector, {
        "fit_seconds": seconds,
        "parameters": weights,
        "images": detector.splits_["train"]["count"],
        "epochs": [stage["epochs"] for stage in stages],
        "chosen": [stage["chosen_epoch"] for stage in stages],
        "notes": detector.notes_,
    }


def scored(detector: Detector[Any], test: Collection) -> tuple[Any, dict[str, Any]]:
    """Scores with their AUROC and images a second, from memory of the decoder to the decision."""
    start = time.perf_counter()
    result = detector.score(test)
    seconds = time.perf_counter() - start
    auroc = float(Ranking(result.scores, test.labels()).auroc())
    return result, {"auroc": auroc, "images_per_second": len(test) / seconds}


# -- ALPS: tables I and III --------------------------------------------------------------------------------------------

PERTURBATION: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel z-score": ("pixel_zscore", {}),
    "largest gradient": ("gradient", {}),
    "PCA": ("pca", {}),
    "nearest neighbours": ("knn", {}),
    "OC-SVM": ("ocsvm", {}),
    "Deep SVDD": ("deep_svdd", {"epochs": 50}),
    "vanilla AE": ("alps", {"code": "plain", "score": "normal", "epochs": 30}),
    "AE + noise": ("alps", {"code": "noise", "score": "normal", "epochs": 30}),
    "ALPS": ("alps", {"score": "mean", "epochs": 30}),
}


def perturbation(seeds: list[int], classes: list[str]) -> Iterator[Job]:
    for case in classes or ["mnist:2", "mnist:8", "fashion-mnist:0", "fashion-mnist:5"]:
        for seed in seeds:
            for row, (method, settings) in PERTURBATION.items():
                yield Job("perturbation", row, case, seed, method, settings, run_perturbation)


def run_perturbation(job: Job) -> dict[str, Any]:
    dataset, normal = job.case.split(":")
    detector, cost = fitted(job, f"{dataset}:train:normal={normal}")
    test = amiss.open_images(f"{dataset}:test:normal={normal}")
    _, figures = scored(detector, test)
    if job.row == "ALPS":
        paths = detector.path_scores(test)  # type: ignore[attr-defined]
        figures["paths"] = {path: float(Ranking(scores, test.labels()).auroc()) for path, scores in paths.items()}
    return cost | figures


# -- ADNL: table 1, and few labels -------------------------------------------------------------------------------------

_AAE = {"size": (32, 32), "filters": (32, 64, 128, 64), "epochs": 10, "negative_epochs": 5, "batch_size": 256}
#: Normal images of the pool (the paper: all), so that a fit takes a minute or two.
_POOL = 12_000


#: In every table: fitted in a second, and often hard to beat.
_TRIVIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel z-score": ("pixel_zscore", {"size": (32, 32)}),
    "largest gradient": ("gradient", {"size": (32, 32)}),
    "PCA": ("pca", {"size": (32, 32)}),
    "nearest neighbours": ("knn", {"size": (32, 32)}),
}


def _digits(anomalous: str, seed: int) -> Any:
    pool = amiss.open_images("mnist:train:anomalous=0")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pool))[:_POOL])
    return one_anomalous(Collection([pool[int(index)] for index in chosen], "mnist"), anomalous, seed)


def negative(seeds: list[int], classes: list[str]) -> Iterator[Job]:
    rows: dict[str, tuple[str, dict[str, Any]]] = _TRIVIAL | {
        "without labels": ("aae", {key: _AAE[key] for key in _AAE if not key.startswith("negative")}),
    }
    rows |= {f"negative, {form}": ("adnl", _AAE | {"negative": form}) for form in ("plain", "bounded")}
    rows |= {"negative, plain, mixed": ("adnl", _AAE | {"negative_phase": "mixed"})}
    for case in classes or ["0", "1", "8"]:
        for seed in seeds:
            for row, (method, settings) in rows.items():
                yield Job("negative", row, case, seed, method, settings, run_negative)


def run_negative(job: Job) -> dict[str, Any]:
    protocol = _digits(job.case, job.seed)
    options = {"anomalies": protocol.anomalies} if job.method == "adnl" else {}
    detector, cost = fitted(job, protocol.train, **options)
    _, figures = scored(detector, protocol.test)
    return cost | figures | {"labels": len(protocol.anomalies) if options else 0}


def few(seeds: list[int], classes: list[str]) -> Iterator[Job]:
    for seed in seeds:
        for row, (method, given) in _TRIVIAL.items():
            yield Job("few-labels", f"{row}, 0 labels", "8 and 3", seed, method, given, run_few)
        for count in (0, 1, 5, 10, 50, 100, 1000):
            for form in ("bounded",):
                settings = _AAE | {"negative": form}
                yield Job("few-labels", f"{form}, {count} labels", "8 and 3", seed, "adnl", settings, run_few)
        for count in (1, 10, 100):  # the term lets go of an anomaly that is painted a few times worse than normals
            settings = _AAE | {"negative": "bounded", "negative_unit": 0.05}
            yield Job("few-labels", f"bounded at 0.05, {count} labels", "8 and 3", seed, "adnl", settings, run_few)


def run_few(job: Job) -> dict[str, Any]:
    """Eights are labelled anomalies; threes are anomalies of a kind that is never shown; the rest is normal."""
    protocol = _digits("8", job.seed)
    count = int(job.row.split(", ")[1].split()[0])
    assert protocol.anomalies is not None
    train = protocol.train.where(lambda item: item.kind != "3")
    pool = amiss.open_images("mnist:train:anomalous=8")
    eights = pool.where(lambda item: item.kind == "8")[:1000]  # enough for a thousand labels, none of them in the test
    names = {item.name for item in protocol.test}
    eights = eights.where(lambda item: item.name not in names)
    shown = few_labels(eights, min(count, len(eights)), job.seed)
    detector, cost = fitted(job, train, **({"anomalies": shown} if count else {}))
    figures: dict[str, Any] = {"labels": len(shown)}
    for name, kind in (("shown kind", "8"), ("unseen kind", "3")):
        test = protocol.test.where(lambda item, kind=kind: item.kind == kind or item.kind not in ("3", "8"))
        labels = np.array([item.kind == kind for item in test])
        figures[name] = float(Ranking(detector.score(test).scores, labels).auroc())
    return cost | figures | {"auroc": figures["shown kind"]}


# -- G2D: F1 by share of outliers --------------------------------------------------------------------------------------


def shares(seeds: list[int], classes: list[str]) -> Iterator[Job]:
    quarter = {"size": (32, 32), "filters": (256, 128, 64), "epochs": 20}
    rows: dict[str, tuple[str, dict[str, Any]]] = _TRIVIAL | {
        "ALOCC": ("alocc", {"size": (32, 32), "epochs": 15}),
        "G2D, a quarter wide": ("g2d", quarter),
    }
    for case in classes or ["mnist:2", "mnist:8"]:
        for seed in seeds:
            for row, (method, settings) in rows.items():
                yield Job("outliers", row, case, seed, method, settings, run_shares)


def run_shares(job: Job) -> dict[str, Any]:
    dataset, normal = job.case.split(":")
    detector, cost = fitted(job, f"{dataset}:train:normal={normal}")
    test = amiss.open_images(f"{dataset}:test:normal={normal}")
    _, figures = scored(detector, test)
    by_share = {}
    for percent in (10, 20, 30, 40, 50):
        part = outliers(test, percent / 100, job.seed)
        result, labels = detector.score(part), part.labels()
        row = {
            "auroc": float(Ranking(result.scores, labels).auroc()),
            "f1_anomalous": f1(result.is_anomaly, labels),
            "f1_normal": f1(~result.is_anomaly, ~labels),
        }
        if job.method == "g2d":  # the paper's decision: D(x) under 0.5, log-odds over 0
            row |= {
                "f1_anomalous_at_half": f1(result.scores > 0, labels),
                "f1_normal_at_half": f1(result.scores <= 0, ~labels),
            }
        by_share[str(percent)] = row
    return (
        cost
        | figures
        | {"shares": by_share, "stages": detector.training_["stages"][1]["figures"] if job.method == "g2d" else None}
    )


def f1(found: Any, truth: Any) -> float:
    hits = int((found & truth).sum())
    return 2 * hits / max(1, int(found.sum()) + int(truth.sum()))


# -- RAVI: parts on magnet tiles ---------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "pixel z-score": ("pixel_zscore", {}),
    "PCA, mean error": ("pca", {}),
    "PCA, largest smoothed error": ("pca", {"reduce": "largest"}),
    "largest gradient": ("gradient", {}),
    "nearest neighbours": ("knn", {}),
    "OC-SVM": ("ocsvm", {}),
    "Deep SVDD": ("deep_svdd", {"epochs": 50}),
    "ADACL": ("adacl", {"epochs": 15}),
    "BCAE1": ("bcae1", {"epochs": 30}),
    "+ strengthened kernels": ("bcae1", {"epochs": 30, "conv": "asymmetric"}),
    "+ attention": ("aa_cae", {"epochs": 30}),
    "+ squeeze-excitation": ("se_cae", {"epochs": 30}),
    "+ SA gate": ("sa_cae", {"epochs": 30}),
    "+ SSA gate": ("ssa_cae", {"epochs": 30}),
    "+ SSIM": ("bcae1", {"epochs": 30, "loss": "mse+ssim"}),
    "+ SVDD": ("bcae1", {"epochs": 30, "svdd": "soft-boundary"}),
    "+ distorter": ("bcae1", {"epochs": 30, "code": "distorter", "score": "mean"}),
    "+ memory": ("bcae1", {"epochs": 30, "code": "memory"}),
    "+ noise in the input": ("denoising_ae", {"epochs": 30}),
    "+ hidden rectangle": ("context_ae", {"epochs": 30}),
    "strengthened + SSA + SSIM + SVDD": (
        "bcae1",
        {"epochs": 30, "conv": "asymmetric", "gate": "ssa", "loss": "mse+ssim", "svdd": "soft-boundary"},
    ),
    "BCAE2": ("bcae2", {"epochs": 30, "filters": (32, 64, 128, 256, 150)}),
    "KS-CAE": ("ks_cae", {"epochs": 30, "filters": (32, 32, 64, 128, 150)}),
    "KS-CAE + SSIM": ("ks_cae", {"epochs": 30, "filters": (32, 32, 64, 128, 150), "loss": "mse+ssim"}),
    "BCAE1 on patches": ("bcae1", {"epochs": 10, "patch": (32, 16)}),
    "PCA on patches": ("pca", {"patch": (32, 16)}),
}


def parts(seeds: list[int], classes: list[str]) -> Iterator[Job]:
    for seed in seeds:
        for row, (method, settings) in PARTS.items():
            yield Job("parts", row, "magnetic-tile", seed, method, {"size": (64, 64)} | settings, run_parts)


def run_parts(job: Job) -> dict[str, Any]:
    detector, cost = fitted(job, "magnetic-tile:train")
    test = amiss.open_images("magnetic-tile:test")
    result, figures = scored(detector, test)
    kinds = {}
    for kind in sorted({item.kind or "" for item in test if item.anomalous}):
        keep = np.array([not item.anomalous or item.kind == kind for item in test])
        kinds[kind] = float(Ranking(result.scores[keep], test.labels()[keep]).auroc())
    return cost | figures | {"kinds": kinds}


TABLES = {"perturbation": perturbation, "negative": negative, "few-labels": few, "outliers": shares, "parts": parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--classes", nargs="+", default=[])
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    done = {tuple(row["key"]) for row in rows}
    command = "python benchmarks/paper_tables.py " + " ".join(sys.argv[1:])
    for table in options.tables:
        for job in TABLES[table](options.seeds, options.classes):
            if job.key in done:
                continue
            row = {"key": job.key, "table": job.table, "row": job.row, "case": job.case, "seed": job.seed}
            row |= {"method": job.method, "settings": job.kept_settings} | job.run(job)
            row |= {"machine": versions.machine(), "amiss": amiss.__version__, "command": command}
            with LINES.open("a") as file:
                file.write(json.dumps(row) + "\n")
                os.fsync(file.fileno())
            print(
                f"{job.table} {job.case} {job.row} seed {job.seed}: {row['auroc']:.4f}, {row['fit_seconds']:.0f} s",
                flush=True,
            )
    if options.render:
        from table_pages import render

        rows = [json.loads(line) for line in LINES.read_text().splitlines()]
        seeds = sorted({row["seed"] for row in rows})
        keys = [job.key for table in TABLES.values() for job in table(seeds, [])]
        rows.sort(key=lambda row: keys.index(tuple(row["key"])) if tuple(row["key"]) in keys else len(keys))
        (RESULTS / "tables.md").write_text(render(rows))


if __name__ == "__main__":
    main()
