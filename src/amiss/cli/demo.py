"""`amiss demo`: the whole of it in about a minute, on a photograph of a surface, without a download."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import data, environment, evaluation, registry
from .console import Json, console, number, percent, plain, print_json, progress_bar
from .fit import IMAGE_METHOD

ORDER = 1
_HELP = """Try amiss in about a minute, on a photograph of a surface.

Learns from parts of a photograph of a brick wall, scores others, half of them with a defect drawn in, and writes a
report. Needs no download and no data of yours.

\b
Examples:
  amiss demo
  amiss demo --surface gravel --out gravel-demo
"""


def register(app: typer.Typer) -> None:
    app.command("demo", help=_HELP)(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, model and report.")] = Path("amiss-demo"),
    surface: Annotated[str, typer.Option(help="brick, or gravel, which is harder.")] = "brick",
    method: Annotated[str, typer.Option(help="See: amiss methods.")] = IMAGE_METHOD,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same result.")] = 0,
    json_: Json = False,
) -> None:
    rate = data.examples.FALSE_ALARM_RATE
    detector = registry.get_method(method)(seed=seed, false_alarm_rate=rate)
    detector.check()
    example = data.examples.make_example(surface, seed)
    good, test, model_file = out / "good", out / "test", out / "demo.amiss"
    people = console(json_)
    if not out.exists():
        environment.files.make_folder(out)
    with environment.outputs.only_writer(out):
        example.write(out)
        people.print(f"[bold]Pictures[/]  {example.words}")
        with progress_bar() as progress:
            detector.fit(good, progress=progress).save(model_file)
            model = detector.model_  # as it is in the file, so that the commands give the same figures
            splits = model.record.splits
            people.print(
                f"[bold]Learnt[/]    {model.label} learnt from {splits.train.count + splits.stop.count} good pictures; "
                + ("all of them" if splits.folds else f"{splits.calibrate.count} others")
                + " set the threshold. No defect was shown."
            )
            labelled = replace(
                data.open_images(test, "eval"), title=f"{surface} with drawn defects", notes=(example.words,)
            )
            result = evaluation.evaluate_model(model, labelled, collect=True, progress=progress)
        assert result.collector is not None
        page = result.collector.write(out)
    _tell(people, result.metrics, model.decision.bound)
    people.print(f"[bold]Report[/]    {plain(page)}")
    options = [*(("--method", method) if method != IMAGE_METHOD else ()), *(("--seed", str(seed)) if seed else ())]
    commands = (
        ("fit", good, "--out", model_file, "--false-alarm-rate", rate, *options),
        ("eval", model_file, test, "--report", page),
        ("score", model_file, test / "crack"),
    )
    people.print("[bold]By hand[/]   the same in commands, which do as much with pictures of yours:")
    for command in commands:
        people.print(f"          amiss {plain(shlex.join(map(str, command)))}")
    if json_:
        print_json({"report": str(page), "model": str(model_file), **result.metrics})


def _tell(people: Any, metrics: dict[str, Any], bound: str) -> None:
    auroc, rate, places = metrics["auroc"], metrics["false_alarm_rate"], metrics["localisation"]
    people.print(
        f"[bold]Scored[/]    {metrics['n_normal']} other good pictures, and {metrics['n_anomalous']} with a defect."
    )
    people.print(
        f"[bold]AUROC[/]     {number(auroc['value'])} ({number(auroc['low'])} – {number(auroc['high'])}): how often a "
        "picture with a defect scores above a good one."
    )
    if places is not None:
        people.print(
            f"[bold]Where[/]     pixel AUROC {number(places['pixel_auroc'])}, AU-PRO at 30 % "
            f"{number(places['au_pro'])}: how well the maps show the place of a defect."
        )
    kinds = ", ".join(f"{kind} {percent(found['recall']['value'])}" for kind, found in metrics["kinds"].items())
    people.print(
        f"[bold]Promise[/]   false-alarm rate {bound} {percent(rate['promised'])}; on other good pictures "
        f"{percent(rate['achieved'])} ({percent(rate['low'])} – {percent(rate['high'])})."
    )
    people.print(f"[bold]Flagged[/]   {percent(metrics['recall']['value'])} of the defects: {kinds}.")
