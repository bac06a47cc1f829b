"""`amiss demo`: the whole of it in about a minute, on real pictures, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import data, evaluation, registry
from ..errors import UsageError
from .console import Json, console, number, percent, print_json, progress_bar

ORDER = 1
#: Keeps the demonstration to about a minute.
_MOST_EPOCHS = 10
_HELP = """Try amiss in about a minute, on real pictures.

Learns from pictures that are already on this machine, scores unseen ones and writes a report. Needs no download and no
data of yours.

\b
Examples:
  amiss demo
  amiss demo --out somewhere --method bcae1
"""


def register(app: typer.Typer) -> None:
    app.command("demo", help=_HELP)(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the model and the report.")] = Path("amiss-demo"),
    method: Annotated[str, typer.Option(help="See: amiss methods.")] = "adacl",
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same result.")] = 0,
    json_: Json = False,
) -> None:
    kind = registry.get_method(method)
    shown = data.examples.demo_data()
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give the name of a folder")
    out.mkdir(parents=True, exist_ok=True)
    people = console(json_)
    people.print(f"[bold]Pictures[/]  {shown.words}.")
    with progress_bar() as progress:
        detector = kind(seed=seed, false_alarm_rate=shown.false_alarm_rate, epochs=min(kind().epochs, _MOST_EPOCHS))
        model = detector.fit(shown.normal, progress=progress).model_
        splits = model.record.splits
        people.print(
            f"[bold]Learnt[/]    {model.label} saw {splits.train.count} normal pictures; {splits.stop.count} others "
            f"chose when to stop, {splits.calibrate.count} others set the threshold. No anomaly was shown."
        )
        path = model.save(out / "demo.amiss")
        result = evaluation.evaluate_model(model, shown.labelled, collect=True, progress=progress)
    assert result.collector is not None
    page = result.collector.write(out)
    metrics = result.metrics
    auroc, rate = metrics["auroc"], metrics["false_alarm_rate"]
    people.print(
        f"[bold]Scored[/]    {metrics['n_normal']} unseen normal pictures and {metrics['n_anomalous']} anomalous ones."
    )
    people.print(
        f"[bold]AUROC[/]     {number(auroc['value'])} ({number(auroc['low'])} – {number(auroc['high'])}): how often an "
        "anomaly scores above a normal picture."
    )
    people.print(
        f"[bold]Promise[/]   false-alarm rate at most {percent(rate['promised'])}; on unseen normal pictures "
        f"{percent(rate['achieved'])} ({percent(rate['low'])} – {percent(rate['high'])}). "
        f"{percent(metrics['recall']['value'])} of the anomalies were flagged."
    )
    people.print(f"[bold]Report[/]    {page}")
    people.print(
        "[bold]Next[/]      amiss fit YOUR_GOOD_IMAGES --out part.amiss, then amiss score part.amiss NEW_IMAGES"
    )
    if json_:
        print_json({"report": str(page), "model": str(path), "data": shown.words, **metrics})
