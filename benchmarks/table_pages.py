"""results/tables.md from the rows of results/tables.jsonl, the papers' figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Row = dict[str, Any]

#: ALPS tables I (its own row) and III (means over the ten digits), in %.
ALPS_PAPER = {"mnist:2": 94.09, "mnist:8": 95.56, "fashion-mnist:0": 94.42, "fashion-mnist:5": 90.40}
ALPS_MEANS = {"vanilla AE": 95.42, "AE + noise": 95.95, "ALPS": 97.65}
#: ADNL table 1, in %.
ADNL_PAPER = {"0": (73.57, 99.64), "1": (17.06, 99.59), "8": (58.63, 98.86)}


def figures(rows: Iterable[Row], value: Callable[[Row], float | None]) -> str:
    """Mean over seeds in %, with the standard deviation where there are several; how many stands in brackets."""
    found = [100 * figure for figure in map(value, rows) if figure is not None]
    if not found:
        return "–"
    spread = f" ± {np.std(found, ddof=1):.1f} ({len(found)})" if len(found) > 1 else ""
    return f"{np.mean(found):.1f}{spread}"


def table(head: list[str], lines: Iterable[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
    ]


def names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["row"] for row in rows))


def cost(rows: list[Row]) -> list[str]:
    """Weights, seconds to fit, images scored a second: means over the rows."""
    weights = int(np.median([row["parameters"] for row in rows]))
    rates = [row["images_per_second"] for row in rows if "images_per_second" in row]
    size = f"{weights / 1e6:.2f} M" if weights >= 1e5 else f"{weights:,}"
    return [
        size,
        f"{np.median([row['fit_seconds'] for row in rows]):.0f}",
        f"{np.median(rates):,.0f}" if rates else "–",
    ]


def perturbation(rows: list[Row]) -> list[str]:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    text = [
        "## Perturbed codes: ALPS tables I and III",
        "",
        "One class normal, the rest of the test set anomalous; AUROC in %. The three autoencoders are the same "
        "network (pooled, 32, 64, 128, 64 filters), fitted 30 epochs at most; epochs chosen on held-out normals. "
        "*Oracle* takes the best of the three scores for every class after seeing the test labels, as the paper does: "
        "no figure of ours without that word has seen an anomaly.",
        "",
    ]
    lines = []
    for name in names(rows):
        mine = [row for row in rows if row["row"] == name]
        cells = [figures([row for row in mine if row["case"] == case], lambda row: row["auroc"]) for case in cases]
        lines.append([name, *cells, str(ALPS_MEANS.get(name, "–")), *cost(mine)])
        if name == "ALPS":
            for path in ("normal", "perturbed", "mean"):
                cells = [
                    figures([row for row in mine if row["case"] == case], lambda row, path=path: row["paths"][path])
                    for case in cases
                ]
                lines.append(
                    [f"– score of the {path} path" if path != "mean" else "– mean of both", *cells, "", "", "", ""]
                )
            cells = [
                figures([row for row in mine if row["case"] == case], lambda row: max(row["paths"].values()))
                for case in cases
            ]
            lines.append(["– oracle: best of the three", *cells, "", "", "", ""])
    lines.append(
        ["*ALPS in the paper (oracle)*", *(str(ALPS_PAPER.get(case, "–")) for case in cases), "97.65", "", "", ""]
    )
    head = ["", *cases, "paper, mean of all digits", "weights", "seconds a fit", "images / s"]
    return [*text, *table(head, lines)]


def negative(rows: list[Row]) -> list[str]:
    cases = sorted({row["case"] for row in rows})
    text = [
        "## Negative learning: ADNL table 1",
        "",
        "One digit is the anomaly, the other nine are normal, 80:20 within each digit; MNIST at 32x32, of which 12,000 "
        "images; AUROC in %. Half the width of `adnl`'s defaults, 10 epochs and 5 of the negative phase (the paper: "
        "100). Labels: all anomalies of the training part, about 900.",
        "",
    ]
    lines = []
    for name in names(rows):
        mine = [row for row in rows if row["row"] == name]
        cells = [figures([row for row in mine if row["case"] == case], lambda row: row["auroc"]) for case in cases]
        lines.append([name, *cells, *cost(mine)])
    for title, which in (("*paper, without labels*", 0), ("*paper, negative learning*", 1)):
        lines.append([title, *(str(ADNL_PAPER[case][which]) for case in cases), "", "", ""])
    return [*text, *table(["", *cases, "weights", "seconds a fit", "images / s"], lines)]


def few_labels(rows: list[Row]) -> list[str]:
    text = [
        "## Few labels, and a kind never shown",
        "",
        "Eights are labelled anomalies; threes are anomalies too, but none is ever shown; the other eight digits are "
        "normal. As above, with the bounded term; AUROC in %. *At 0.05*: with `negative_unit=0.05`, "
        "chosen before any run of this table.",
        "",
    ]
    lines = []
    for name in names(rows):
        mine = [row for row in rows if row["row"] == name]
        kinds = [figures(mine, lambda row, kind=kind: row[kind]) for kind in ("shown kind", "unseen kind")]
        form = name.split(",")[0]
        lines.append([form, str(mine[0]["labels"]), *kinds, f"{np.median([row['fit_seconds'] for row in mine]):.0f}"])
    return [*text, *table(["form", "labels", "eights (shown)", "threes (never shown)", "seconds a fit"], lines)]


def outliers(rows: list[Row]) -> list[str]:
    text = [
        "## Shares of outliers: G2D's protocol on MNIST",
        "",
        "One digit normal; outliers drawn from the others until they are 10 to 50 % of the test images. F1 in %, at "
        "the threshold that was calibrated for 1 % false alarms, and for G2D also at the paper's D(x) of 0.5. The "
        "paper shows a figure without numbers and says it is nearly flat; which class is positive it does not say, so "
        "both are here.",
        "",
    ]
    lines = []
    for name in names(rows):
        mine = [row for row in rows if row["row"] == name]
        measures = [("anomalous positive", "f1_anomalous"), ("normal positive", "f1_normal")]
        if "f1_normal_at_half" in mine[0]["shares"]["10"]:
            measures += [("anomalous, at 0.5", "f1_anomalous_at_half"), ("normal, at 0.5", "f1_normal_at_half")]
        for title, key in measures:
            cells = [
                figures(mine, lambda row, p=p, key=key: row["shares"][p][key]) for p in ("10", "20", "30", "40", "50")
            ]
            lines.append([name, title, *cells, figures(mine, lambda row: row["auroc"]), *cost(mine)])
    head = ["", "F1", "10 %", "20 %", "30 %", "40 %", "50 %", "AUROC", "weights", "seconds a fit", "images / s"]
    digits = ", ".join(sorted({row["case"] for row in rows}))
    return [*text, *table(head, lines), f"Digits: {digits}; means over them (the number in brackets).", ""]


def parts(rows: list[Row]) -> list[str]:
    kinds = list(rows[0]["kinds"])
    text = [
        "## RAVI's parts on magnet tiles, one by one and together",
        "",
        "952 good tiles, split by item; `magnetic-tile:train` to fit, `magnetic-tile:test` to measure, once a fit; "
        "64x64 pixels, 30 epochs at most; image AUROC in %, overall and by kind. *Gain* is against BCAE1 of the same "
        "table. BCAE2 and KS-CAE have half their filters.",
        "",
    ]
    baseline = np.mean([row["auroc"] for row in rows if row["row"] == "BCAE1"] or [np.nan])
    lines = []
    for name in names(rows):
        mine = [row for row in rows if row["row"] == name]
        gain = 100 * (np.mean([row["auroc"] for row in mine]) - baseline)
        by_kind = [figures(mine, lambda row, kind=kind: row["kinds"][kind]) for kind in kinds]
        lines.append([name, figures(mine, lambda row: row["auroc"]), f"{gain:+.1f}", *by_kind, *cost(mine)])
    return [*text, *table(["", "AUROC", "gain", *kinds, "weights", "seconds a fit", "images / s"], lines)]


PAGES = {
    "perturbation": perturbation,
    "negative": negative,
    "few-labels": few_labels,
    "outliers": outliers,
    "parts": parts,
}


def render(rows: list[Row], remarks: str = "") -> str:
    """The whole page."""
    text = [
        "# The papers' tables on data that is here",
        "",
        "Every figure is a fit of `benchmarks/paper_tables.py`, kept in [tables.jsonl](tables.jsonl) with its "
        "settings. Where a number stands in brackets, so many seeds (or digits) are averaged; elsewhere it is seed 0 "
        "alone. Compared fits of one seed share splits and the order of their batches. Seconds and images a second "
        "were taken on one core while other work shared the machine: compare them with each other, not with other "
        "pages.",
        "",
        *([remarks.strip(), ""] if remarks else []),
    ]
    for name, page in PAGES.items():
        mine = [row for row in rows if row["table"] == name]
        if mine:
            text += page(mine)
    text += [
        "Commands:",
        "",
        *sorted({f"    {row['command']}" for row in rows}),
        "",
        f"Machine: {rows[-1]['machine']}.",
    ]
    return "\n".join(text) + "\n"
