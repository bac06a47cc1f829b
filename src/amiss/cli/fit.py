"""`amiss fit`: learn normal from images, write a model file."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import data, environment, registry
from ..errors import DegenerateTrainingWarning, TrainingError, UsageError
from .console import MOST_PIXELS, Json, MaxPixels, console, percent, plain, print_json, progress_bar, settings

if TYPE_CHECKING:
    from ..data.collection import Collection
    from ..model import FittedModel
    from ..model.manifest import Record
    from ..training.record import StageRecord

ORDER = 2
#: What is fitted where no method is named.
IMAGE_METHOD, VIDEO_METHOD = "panel", "motion_adacl"
_HELP = """Learn what normal images look like and write a model file.

NORMAL is folders, files, globs, .idx / .npy / .npz arrays, videos, or known data sets. They also set the threshold:
each is scored by a fit that has not seen it (methods that take minutes set a fifth aside). No others are needed.

\b
Examples:
  amiss fit parts/good --out part.amiss
  amiss fit parts/good --out part.amiss --effort best
  amiss fit 'monday/*.png' 'tuesday/*.png' --out part.amiss --false-alarm-rate 0.001
  amiss fit fashion-mnist:train:normal=3 --out dress.amiss --method bcae1 --epochs 30
  amiss fit parts/good --out part.amiss --set size=96x192 --set batch_size=32
  amiss fit parts/good --anomalies parts/bad --out part.amiss --method adnl
  amiss fit monday.mp4 tuesday.mp4 --out hall.amiss
  amiss fit parts/good --out part.amiss --region 0.1,0.1,0.8,0.8 --ignore label.png
  amiss fit parts/good --out part.amiss --resume        # go on after a power cut
"""


def register(app: typer.Typer) -> None:
    app.command("fit", help=_HELP)(fit)


def fit(
    normal: Annotated[list[str], typer.Argument(metavar="NORMAL", help="Normal images.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Model file to write.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(help="See: amiss methods. Without it, panel; for videos alone, motion_adacl.", show_default=False),
    ] = None,
    anomalies: Annotated[
        list[str] | None,
        typer.Option(help="Labelled anomalies to learn from, for methods that can; repeatable.", show_default=False),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            help="Labelled images of both kinds that choose the epoch; a choice that has seen anomalies. Repeatable.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to look, alike in all images: X,Y,WIDTH,HEIGHT, a polygon 'X,Y X,Y X,Y', or a mask, white "
            "there. In pixels, or in shares from 0 to 1. Repeatable. The model keeps it.",
            show_default=False,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Where not to look, written like --region.", show_default=False)
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="Of the default method: quick (about 10 s for 200 images), normal (half a minute) or best (minutes, "
            "with a network that is trained).",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; see: amiss methods NAME.")
    ] = None,
    false_alarm_rate: Annotated[float, typer.Option(help="Share of normal images that may be flagged.")] = 0.01,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs; without it, the method's own.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same machine: same model.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    max_pixels: MaxPixels = MOST_PIXELS,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a fit that was broken off.")] = False,
    json_: Json = False,
) -> None:
    # a wrong method is told before anything is opened
    collection = data.open_images(normal, "fit") if method is None else None
    if method is None:
        assert collection is not None
        method, collection = _method_for(collection)
    kind = registry.get_method(method)
    chosen = settings.parse_settings(kind, set_ or [])
    if effort is not None:
        if method != IMAGE_METHOD:
            raise UsageError(
                f"--effort is of the method {IMAGE_METHOD}; {method} is fitted in one way, see its settings"
            )
        chosen = kind.effort_settings(effort) | chosen
    given = {"false_alarm_rate": false_alarm_rate, "seed": seed, "device": device}
    given |= {"epochs": epochs} if epochs is not None else {}
    given |= {name: tuple(value) for name, value in (("region", region), ("ignore", ignore)) if value}
    chosen |= {name: value for name, value in given.items() if name not in chosen}
    detector = kind(**settings.check_settings(kind, chosen))
    detector.check()
    try:
        if out.is_dir():
            raise UsageError(f"{out} is a folder; give the name of a file, such as {out / 'part.amiss'}")
    except OSError:
        pass  # a name that cannot be is explained by the next line
    work_dir = out.with_name(out.name + ".partial")
    try:
        with environment.outputs.only_writer(out), progress_bar() as progress:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DegenerateTrainingWarning)  # the notes below say the same
                detector.fit(
                    normal if collection is None else collection,
                    anomalies=anomalies,
                    validation=validation,
                    work_dir=work_dir,
                    resume=resume,
                    progress=progress,
                )
            detector.save(out)
            shutil.rmtree(work_dir, ignore_errors=True)
    except KeyboardInterrupt:
        raise TrainingError("stopped; the same command with --resume goes on behind the last whole epoch") from None
    _report(detector.model_, method, out, json_)


def _method_for(collection: Collection) -> tuple[str, Collection]:
    """The default method for these images; where videos are mixed with still images, they get a note that tells."""
    if collection.of_video:
        return VIDEO_METHOD, collection
    frames = sum(item.video is not None for item in collection)
    if not frames:
        return IMAGE_METHOD, collection
    note = (
        f"{frames} of {len(collection)} images are frames of videos or animations, and were learnt from like the "
        f"others, by {IMAGE_METHOD}; for videos alone leave the others out, or give --method {VIDEO_METHOD}"
    )
    return IMAGE_METHOD, replace(collection, notes=(*collection.notes, note))


def _report(model: FittedModel, method: str, out: Path, json_: bool) -> None:
    record, decision = model.record, model.decision
    members, splits = record.training.members(), record.splits
    channels, height, width = model.preprocessing.shape
    if json_:
        print_json(
            {
                "model": str(out),
                "method": method,
                "images": {
                    "train": splits.train.count,
                    "stop": splits.stop.count,
                    "calibrate": splits.calibrate.count,
                },
                "folds": splits.folds,
                "size": [height, width],
                "region": None if model.preprocessing.roi is None else model.preprocessing.roi.in_words,
                "features": model.method.features,
                "channels": channels,
                "training": record.training.model_dump(),
                "members": members,
                "decision": decision.to_dict(),
                "notes": record.notes,
            }
        )
    people = console(json_)
    for note in record.notes:
        people.print(f"[yellow]note[/]  {plain(note)}")
    colour = "gray" if channels == 1 else "colour"
    what = "frames" if model.learnt_from_video else "images"
    people.print(
        f"[bold]{model.label}[/] learnt from {splits.train.count} {colour} {what} at {height}x{width} in "
        f"{sum(stage.seconds for stage in record.training.stages):.0f} s; {_threshold(record, bool(members))}."
    )
    for member in members:
        people.print(
            f"  {plain(member['name']):<16}{member['seconds']:6.1f} s   weight {member['weight']:.2f}   "
            f"share {percent(member['share'])}"
        )
    if model.preprocessing.roi is not None:
        people.print(f"It looks at {model.preprocessing.roi.in_words}, here and whenever it scores.")
    mark = "[green]promise[/]" if decision.guaranteed else "[yellow]caution[/]"
    people.print(f"{mark}  {plain(decision.explain())}")
    name, size = plain(str(out)), out.stat().st_size / 1e6
    people.print(f"Wrote [bold]{name}[/] ({size:.1f} MB). Next:  amiss score {name} FOLDER")


def _threshold(record: Record, panel: bool) -> str:
    """What set the threshold, and chose the epoch, in words."""
    splits = record.splits
    if splits.folds:
        return f"all of them set the threshold, each scored by one of {splits.folds} fits that had not seen it"
    return (
        f"{_choice(record.training.stages, splits.stop.count, panel)}{splits.calibrate.count} others set the threshold"
    )


def _choice(stages: list[StageRecord], stop: int, panel: bool) -> str:
    """How the epoch was chosen, in words; empty for methods without epochs."""
    if panel:
        return f"{stop} others chose epochs and scaled the members, "
    for stage in stages:
        if stage.chosen_by == "held-out normals":
            return f"{stop} others chose epoch {stage.chosen_epoch} of {stage.epochs}, "
        if stage.chosen_by.startswith("labelled"):
            return f"epoch {stage.chosen_epoch} of {stage.epochs} was chosen by {stage.chosen_by}; "
    return ""
