"""Every verb that writes, killed at random moments: is anything half-written, and does the next run set it right?

    OMP_NUM_THREADS=1 python benchmarks/kill.py                       # 50 times each, an hour or more on one core
    OMP_NUM_THREADS=1 python benchmarks/kill.py --times 5 score watch  # some verbs, a few times

Writes results/kill.md. On small made images (16 x 16 pixels) and a small autoencoder, since what is tried are files and
not figures. A verb runs once unbroken; then it is begun `--times` times and killed (SIGKILL, which nobody can heed)
after a random share of the time from its first file to its end. What then lies there under a final name must be whole.
A second run, with `--resume` where the verb has it, must end as the unbroken one did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import amiss
from amiss.data.video import VideoFile
from amiss.environment import machine
from amiss.testing.videos import crossing, write_video

RESULTS = Path(__file__).parent.parent / "results"
#: Small, and without what is chosen by the clock.
SMALL = ("--method", "bcae1", "--set", "filters=8,8,8", "--set", "patience=6", "--set", "precision=float32")


@dataclass(frozen=True)
class Verb:
    """How a verb is called, how it goes on after it was killed, and what it leaves.

    Attributes:
        arguments: of the first run; `OUT` in them is a folder of this run alone.
        again: of the run behind it.
        whole: raises an exception where a file under its final name is not whole; given the folder.
        left: what must be equal after both runs, from the folder; None where the second one only adds.
    """

    arguments: tuple[str, ...]
    again: tuple[str, ...]
    whole: Callable[[Path], object]
    left: Callable[[Path], object] | None


@dataclass
class Outcome:
    """Of one verb: kills, those that came after its end, those that found something under way, and what was wrong."""

    kills: int = 0
    late: int = 0
    under_way: int = 0
    wrong: list[str] = field(default_factory=list)


# -- what lies there ---------------------------------------------------------------------------------------------------


def finished(folder: Path) -> list[Path]:
    """Files under their final names: not hidden, and not called partial."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") or ".partial" in part for part in path.relative_to(folder).parts)
    ]


def check_whole(folder: Path) -> None:
    """Open every finished file as its readers do."""
    for path in finished(folder):
        if path.suffix == ".amiss":
            amiss.load(path)
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                json.loads(line)
                if not line.endswith("\n"):
                    raise ValueError(f"{path.name} ends within a line")
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".html":
            if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                raise ValueError(f"{path.name} is cut")
        elif path.suffix == ".mp4" and VideoFile(path).damage:
            raise ValueError(f"{path.name} is cut")


def check_table(folder: Path) -> None:
    """A table has all rows or is not there."""
    check_whole(folder)
    table = folder / "t.csv"
    if table.exists() and len(table.read_text(encoding="utf-8").splitlines()) != 1 + COUNT:
        raise ValueError("t.csv lacks rows")


def check_explanations(folder: Path) -> None:
    """All records or none, and of each its picture."""
    check_whole(folder)
    path = folder / "why" / "explanations.jsonl"
    if path.exists() and len(path.read_text(encoding="utf-8").splitlines()) != FEW:
        raise ValueError("explanations.jsonl lacks records")


def check_events(folder: Path) -> None:
    """Films that records name are there."""
    check_whole(folder)
    path = folder / "seen" / "events.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        clip = json.loads(line).get("clip")
        if clip and not (path.parent / clip).exists():
            raise ValueError(f"{clip} is not there")


def contents(folder: Path) -> dict[str, bytes]:
    """Every finished file, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in finished(folder)}


def explained(folder: Path) -> dict[str, Any]:
    """Pictures byte for byte, and records but for the seconds that each took."""
    left: dict[str, Any] = dict(contents(folder))
    lines = left.pop("why/explanations.jsonl").decode().splitlines()
    return left | {"records": [{**json.loads(line), "seconds": None} for line in lines]}


def learnt(folder: Path) -> dict[str, Any]:
    """A model file but for what the clock decides: the seconds of training, and whether bfloat16 is faster."""
    with zipfile.ZipFile(folder / "m.amiss") as archive:
        parts: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop("manifest.json"))
    del manifest["precision_choice"]
    manifest["calibration"].pop("torch-bfloat16", None)
    for stage in manifest["training"]["stages"]:
        del stage["seconds"]
    for lesson in manifest.get("lessons") or []:
        del lesson["stage"]["seconds"]
    return parts | {"manifest": manifest}


# -- the trial ---------------------------------------------------------------------------------------------------------

#: Images to score, and to explain.
COUNT, FEW = 600, 12


def make_data(folder: Path) -> None:
    """`good/` to fit on, `new/` and `few/` to score, `labelled/`, and a video with an event; models `m` and `hall`."""
    rng = np.random.default_rng(0)
    for name, count, spot in (
        ("good", 60, 0),
        ("new", COUNT, 1),
        ("few", FEW, 1),
        ("labelled/good", 20, 0),
        ("labelled/bad", 20, 1),
    ):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(90, 130, (16, 16), dtype=np.uint8)
            if spot and number % 3:
                image[4:9, 4:9] = 255
            Image.fromarray(image).save(folder / name / f"{number}.png")
    write_video(folder / "normal.mp4", crossing(1, 200))
    write_video(folder / "today.mp4", crossing(([1] * 60 + [12] * 60) * 8, seed=1))
    amiss_(folder, "fit", "good", "--out", "m.amiss", "--epochs", "2", *SMALL, "--false-alarm-rate", "0.1")
    amiss_(
        folder, "fit", "normal.mp4", "--out", "hall.amiss", "--method", "frame_difference", "--false-alarm-rate", "0.05"
    )


def verbs() -> dict[str, Verb]:
    fit = (
        "fit",
        "good",
        "--out",
        "OUT/m.amiss",
        "--epochs",
        "6",
        *SMALL,
        "--set",
        "fewest_steps=40",
        "--false-alarm-rate",
        "0.1",
    )
    score = ("score", "m.amiss", "new", "--out", "OUT/t.csv", "--heatmaps", "OUT/maps")
    evaluate = ("eval", "m.amiss", "labelled", "--out", "OUT/m.json", "--report", "OUT/page.html")
    watch = ("watch", "hall.amiss", "today.mp4", "--out", "OUT/seen")
    teach = ("teach", "m.amiss", "--normal", "labelled/good", "--anomalous", "labelled/bad", "--out", "OUT/m.amiss")
    explain = ("explain", "m.amiss", "few", "--with", "occlusion", "--out", "OUT/why")
    return {
        "fit": Verb(fit, (*fit, "--resume"), check_whole, learnt),
        "score": Verb(score, (*score, "--resume"), check_table, contents),
        "eval": Verb(evaluate, evaluate, check_whole, contents),
        "watch": Verb(watch, watch, check_events, None),
        "teach": Verb(teach, teach, check_whole, learnt),
        "explain": Verb(explain, (*explain, "--overwrite"), check_explanations, explained),
    }


def started(folder: Path, arguments: tuple[str, ...], out: str = "") -> subprocess.Popen[str]:
    """A command in a process of its own, of the amiss that is imported here."""
    return subprocess.Popen(
        [sys.executable, "-m", "amiss", *(each.replace("OUT", out, 1) for each in arguments)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(amiss.__file__).parents[1])},
    )


def amiss_(folder: Path, *arguments: str, out: str = "") -> None:
    """Run a command that must go well."""
    done = started(folder, arguments, out)
    _, errors = done.communicate()
    if done.returncode:
        raise RuntimeError(f"amiss {' '.join(arguments)}: {errors.strip()[-300:]}")


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A folder below, of the same name every time, because outputs name it."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    yield out


def begun(verb: Verb, folder: Path, out: Path) -> subprocess.Popen[str]:
    """A run that has made its first file, or is over."""
    process = started(folder, verb.arguments, "out")
    while process.poll() is None and not any(path.is_file() for path in out.rglob("*")):
        time.sleep(0.002)
    return process


def tried(verb: Verb, folder: Path, times: int, rng: random.Random) -> Outcome:
    """Kill one verb so many times."""
    with fresh(folder) as out:
        process = begun(verb, folder, out)
        begin = time.perf_counter()
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"amiss {' '.join(verb.arguments)}: {errors.strip()[-300:]}")
        usual = time.perf_counter() - begin
        expected = verb.left(out) if verb.left else None
    outcome = Outcome()
    for _ in range(times):
        with fresh(folder) as out:
            moment = rng.uniform(0, usual)
            process = begun(verb, folder, out)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            outcome.late += process.poll() is not None
            process.kill()
            process.communicate()
            outcome.kills += 1
            outcome.under_way += any(".partial" in path.name for path in out.rglob("*"))
            try:
                verb.whole(out)
                before = contents(out)
                amiss_(folder, *verb.again, out="out")
                verb.whole(out)
                if verb.left is not None and verb.left(out) != expected:
                    raise ValueError("the run behind it ended otherwise than an unbroken one")
                if verb.left is None and any(
                    contents(out)[name] != content for name, content in before.items() if name.endswith(".mp4")
                ):
                    raise ValueError("a film of the first run was written over")
            except Exception as error:
                outcome.wrong.append(f"{moment:.2f} s behind its first file: {error}")
    return outcome


_PAGE = """\
# Killed at any moment

Written by `OMP_NUM_THREADS=1 python benchmarks/kill.py --times {times}`; seed {seed}. Each verb was begun that many
times on small made images and killed (SIGKILL) after a random share of the time that an unbroken run takes from its
first file to its end. **Under way** are the kills that found a partial file. **Wrong** counts those after which a file
under its final name was not whole, or a second run (with `--resume` for `fit` and `score`) did not end as an unbroken
one: in the same bytes, but for the seconds that model files and explanations record. `watch`, which adds to its folder,
must leave the films of the first run as they are.
"""


def write_page(outcomes: dict[str, Outcome], times: int, seed: int) -> None:
    lines = [
        _PAGE.format(times=times, seed=seed),
        f"Machine: {machine.cpu_name()}. amiss {amiss.__version__}.",
        "",
        "| verb | kills | after its end | under way | wrong |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| `{name}` | {each.kills} | {each.late} | {each.under_way} | {len(each.wrong)} |"
            for name, each in outcomes.items()
        ),
    ]
    wrong = [f"- `{name}` {sentence}" for name, each in outcomes.items() for sentence in each.wrong]
    if wrong:
        lines += ["", "What was wrong:", "", *wrong]
    RESULTS.joinpath("kill.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("verbs", nargs="*", help=f"of {', '.join(verbs())}; without any, all")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="amiss-kill-") as folder:
        make_data(Path(folder))
        for name in given.verbs or verbs():
            outcomes[name] = tried(verbs()[name], Path(folder), given.times, random.Random(f"{given.seed} {name}"))
            print(name, vars(outcomes[name]), flush=True)
    write_page(outcomes, given.times, given.seed)


if __name__ == "__main__":
    main()
