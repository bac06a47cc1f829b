"""`amiss eval`: how well a model tells labelled images apart, and whether its promise held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import data, environment, evaluation
from .. import explain as explaining
from ..errors import UsageError
from ..lazy import rich
from .console import (
    MOST_PIXELS,
    Engine,
    FalseAlarmRate,
    Json,
    MaxPixels,
    Model,
    Strict,
    console,
    load_model,
    number,
    percent,
    plain,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from ..calibration import Decision

ORDER = 4
_HELP = """Evaluate a model on labelled images it has not seen.

LABELLED is a folder with good/ (or normal/, free/) beside folders of defects, an MVTec-style root or its test/, or a
known data set; or name the normal images and the anomalies, with --good and --bad. Images that were used to fit the
model are recognised by their pixels and left out.

\b
Examples:
  amiss eval part.amiss parts/labelled
  amiss eval part.amiss parts/labelled --false-alarm-rate 0.05
  amiss eval part.amiss --good line1/monday --bad line1/returned
  amiss eval dress.amiss fashion-mnist:test:normal=3 --out metrics.json
  amiss eval tile.amiss magnetic-tile:test --report page.html
  amiss eval tile.amiss magnetic-tile:test --explain residual,shap
"""
_MEASURES = {
    "auroc": "AUROC",
    "aupr": "AUPR",
    "eer": "EER",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "best_f1": "best F1 (oracle)",
}
_VIDEO_MEASURES = {
    "auroc_causal": "AUROC, mean of the last 9 frames",
    "auroc_normalised": "AUROC, scaled per video (an oracle)",
}


_AGAINST_MASKS = {
    "pixel_auroc": "pixel AUROC",
    "au_pro": "AU-PRO",
    "average_precision": "AP",
    "pointing": "pointing",
    "best_iou": "best IoU",
}
_AGAINST_MODEL = {
    "deletion": "deletion",
    "insertion": "insertion",
    "made_normal": "made normal",
    "stability": "stability",
    "shuffled": "shuffled",
    "milliseconds": "ms",
    "passes": "passes",
}


def register(app: typer.Typer) -> None:
    app.command("eval", help=_HELP)(evaluate)


def evaluate(
    path: Model,
    labelled: Annotated[
        list[str] | None, typer.Argument(metavar="[LABELLED]", help="Labelled images.", show_default=False)
    ] = None,
    good: Annotated[
        list[str] | None, typer.Option(help="Normal images, with --bad, instead of LABELLED.", show_default=False)
    ] = None,
    bad: Annotated[
        list[str] | None, typer.Option(help="Anomalies, with --good, instead of LABELLED.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the metrics as JSON.", show_default=False)] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="HTML page to write, or a folder.", show_default=False)
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(help="Measure explanations too: explainers with commas, or all that suit.", show_default=False),
    ] = None,
    explained: Annotated[int, typer.Option("--explained", help="How many anomalies are explained.", min=1)] = 40,
    max_pixels: MaxPixels = MOST_PIXELS,
    false_alarm_rate: FalseAlarmRate = None,
    engine: Engine = "auto",
    strict: Strict = False,
    json_: Json = False,
) -> None:
    if bool(labelled) == bool(good or bad):
        raise UsageError("give labelled images, or both --good NORMAL and --bad ANOMALIES")
    images = labelled or data.good_and_bad(good or [], bad or [])
    model = load_model(path, engine, false_alarm_rate)
    names = [] if explain is None else [name.strip() for name in explain.split(",")]
    if names:
        explaining.measure.suitable_explainers(model, names)  # what does not suit is told before anything is measured
    with progress_bar() as progress:
        result = evaluation.evaluate_model(model, images, collect=page is not None, progress=progress)
        metrics = {"model": str(path), **result.metrics}
        if names:
            metrics["explanations"] = explaining.measure.measure_explanations(
                model, data.open_images(images, "eval"), names, images=explained, progress=progress
            )
    if out is not None:
        environment.files.write_text(out, json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    people = console(json_)
    _print_table(people, metrics, model.decision)
    if "explanations" in metrics:
        _print_explanations(people, metrics["explanations"], model.gives_map)
    if out is not None:
        people.print(f"Wrote {plain(out)}")
    if result.collector is not None and page is not None:
        people.print(f"Report: {plain(result.collector.write(page))}")
    if json_:
        print_json(metrics)
    if strict and metrics["left_out"]["unreadable"]:
        raise typer.Exit(1)


def _print_explanations(people: Any, rows: list[dict[str, Any]], gives_map: bool) -> None:
    count = rows[0]["images"]
    what = "1 anomaly" if count == 1 else f"{count} anomalies"
    masked = rows[0]["with_masks"]
    against = f", {masked} of them with a mask" if masked else ""
    people.print(f"\nExplanations of {what}{against}; what the columns mean: docs/explanations.md")
    if rows[0]["unreadable"]:
        people.print(f"[yellow]note[/]  {rows[0]['unreadable']} could not be read, and were left out")
    for measures in (_AGAINST_MASKS, _AGAINST_MODEL):
        if all(row[key] is None for row in rows for key in measures):
            continue  # no masks
        table = rich.table.Table(box=None, pad_edge=False)
        table.add_column("explainer")
        for title in measures.values():
            table.add_column(title, justify="right")
        for row in rows:
            table.add_row(row["explainer"], *(_figure(key, row) for key in measures))
        people.print(table)
    for row in rows:
        if row["indifferent"]:
            people.print(
                f"[yellow]note[/]  {row['explainer']} hardly changes when the weights are shuffled (rank correlation "
                f"{number(row['shuffled'])}): it shows the image rather than what the model learnt"
            )
    if any(row["deletion"] is not None and row["deletion"] > 1 for row in rows):
        people.print(
            "[yellow]note[/]  deletion above 1: images look stranger with places as expected than before, so what is "
            f"filled in does not suit this detector; trust {'its own map (residual), or ' if gives_map else ''}another "
            "fill in amiss explain"
        )


def _figure(key: str, row: dict[str, Any]) -> str:
    value = row[key]
    if key == "made_normal" and value is not None:
        return f"{round(value * row['flagged'])} of {row['flagged']}"
    return f"{value:.0f}" if value is not None and key in ("milliseconds", "passes") else number(value)


def _events(metrics: dict[str, Any]) -> str:
    """Single videos and events, in words."""
    events = metrics["events"]
    known = {name: each["value"] for name, each in metrics["videos"].items() if each is not None}
    lines = []
    if known:
        worst = min(known, key=lambda name: known[name])
        lines.append(
            f"AUROC per video from {number(known[worst])} ({plain(worst)}) to {number(max(known.values()))}, of the "
            f"{len(known)} of {len(metrics['videos'])} that hold normal and anomalous frames"
        )
    else:
        lines.append("No AUROC per video: each holds normal or anomalous frames alone")
    rate = f"{events['frames_per_second']:g} frames a second{' assumed' if events['rate_assumed'] else ''}"
    lines.append(
        f"[bold]{events['detected']} of {events['labelled']} events[/] were found; {events['false']} of "
        f"{events['found']} found are false, {events['false_per_hour']:.1f} an hour ({rate})"
    )
    return "\n".join(lines)


def _kinds_table(kinds: dict[str, Any]) -> Any:
    table = rich.table.Table(box=None, pad_edge=False)
    table.add_column("kind")
    for column in ("images", "AUROC", "95 % interval", "recall"):
        table.add_column(column, justify="right")
    for kind, measured in kinds.items():
        auroc, recall = measured["auroc"], measured["recall"]
        interval = f"{number(auroc['low'])} – {number(auroc['high'])}"
        table.add_row(
            plain(kind), str(measured["n_anomalous"]), number(auroc["value"]), interval, number(recall["value"])
        )
    return table


def _print_table(people: Any, metrics: dict[str, Any], decision: Decision) -> None:
    for sentence in metrics["warnings"]:
        people.print(f"[bold red]warning[/]  {plain(sentence)}")
    for note in metrics["notes"]:
        people.print(f"[yellow]note[/]  {plain(note)}")
    what = "frames" if "videos" in metrics else "images"
    people.print(
        f"{metrics['n_normal']} normal and {metrics['n_anomalous']} anomalous {what} of {plain(metrics['data'])}; "
        f"engine {metrics['engine']}; 95 % bootstrap intervals"
    )
    kinds = metrics["kinds"]
    table = rich.table.Table(box=None, pad_edge=False)
    table.add_column("")
    for column in ("value", "95 % interval"):
        table.add_column(column, justify="right")
    for key, title in _MEASURES.items():
        all_ = metrics[key]
        interval = f"{number(all_['low'])} – {number(all_['high'])}"
        table.add_row(title, number(all_["value"]), interval)
    for key, title in _VIDEO_MEASURES.items():
        if key in metrics:
            interval = f"{number(metrics[key]['low'])} – {number(metrics[key]['high'])}"
            table.add_row(title, number(metrics[key]["value"]), interval)
    people.print(table)
    if "events" in metrics:
        people.print(_events(metrics))
    if len(kinds) > 1:
        people.print(_kinds_table(kinds))
    places = metrics["localisation"]
    if places is not None:
        people.print(
            f"Where the defects are: pixel AUROC {number(places['pixel_auroc'])}, AU-PRO at 30 % "
            f"{number(places['au_pro'])}, against the masks of {places['n_anomalous']} anomalies, and with "
            f"{places['n_normal']} normal {what}"
        )
    mean = metrics["geometric_mean"]
    people.print(
        f"Threshold in use {number(metrics['threshold'], 4)}; these labels would choose {number(mean['threshold'], 4)} "
        f"(geometric mean of recall and specificity {number(mean['value'])}, an oracle)"
    )
    word = f"{'promised' if decision.guaranteed else 'asked for'} {decision.bound}"
    people.print(f"False-alarm rate: {_promise_and_outcome(metrics['false_alarm_rate'], word)}")
    by_group = metrics["false_alarm_rate_of_groups"]
    if by_group is not None:
        whole = "videos" if "videos" in metrics else "groups"
        people.print(
            f"Of {by_group['n']} {whole} of normal {what}, with any flagged: {_promise_and_outcome(by_group, word)}"
        )
    if decision.explain_upper_rate():
        people.print(decision.explain_upper_rate())


def _promise_and_outcome(rate: dict[str, Any], word: str) -> str:
    return (
        f"{word} [bold]{percent(rate['promised'])}[/], achieved [bold]{percent(rate['achieved'])}[/] "
        f"(95 % interval {percent(rate['low'])} – {percent(rate['high'])})"
    )
