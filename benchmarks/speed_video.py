"""Video: frames a second from a file to scores, and memory while an hour of it is watched.

    python benchmarks/speed_video.py                     # everything
    python benchmarks/speed_video.py rates --seconds 20  # one part anew; the other stays as it was
    python benchmarks/speed_video.py memory --frames 90000

Needs ucsd-ped2 on disk (see `amiss data list`) and an otherwise idle machine. Models are fitted for moments only, since
speed does not depend on what they have learnt. Writes speed_video.json and speed_video.md to results/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amiss
from amiss.data import Item
from amiss.environment import versions
from amiss.registry import get_method
from amiss.report.film import Film
from amiss.service.watching import Watcher

RESULTS = Path(__file__).parent.parent / "results"
RATE = 25
#: Frames that models are fitted on, and frames of the film that is scored over and over.
FITTED, FILMED = 400, 750
SIZES = {"128x128": (128, 128), "240x360": (240, 360)}
#: Rows of the table: a method and its settings.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "frame_difference": ("frame_difference", {}),
    "motion_adacl": ("motion_adacl", {"epochs": 1, "steps": 4}),
    "pca": ("pca", {}),
    "knn": ("knn", {}),
    "bcae1": ("bcae1", {"epochs": 1}),
    "ssa_cae": ("ssa_cae", {"epochs": 1}),
    "adacl, patches of 30x30": ("adacl", {"patch": (30, 25), "foreground": 0.1, "epochs": 1}),
    **{
        f"recurrent, {cell}, {shape}": (
            "recurrent",
            {"cell": cell, "shape": shape, "recurrent_layers": layers, "decoder": decoder, "epochs": 1, "steps": 2},
        )
        for cell, shape, layers, decoder in (
            ("rnn", "autoencoder", 1, "plain"),
            ("gru", "autoencoder", 1, "plain"),
            ("lstm", "autoencoder", 1, "plain"),
            ("gru", "bidirectional", 1, "plain"),
            ("gru", "seq2seq", 2, "recurrent"),
            ("lstm", "seq2seq", 2, "recurrent"),
        )
    },
}
#: Shares of all frames at which resident memory is read.
POINTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
ROUNDS = 3


def fit(row: str, size: str, folder: Path) -> Path:
    """A model file, fitted for as short a time as its method can be."""
    method, settings = METHODS[row]
    frames = amiss.open_images("ucsd-ped2:train")[:FITTED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not meant to learn much
        detector = get_method(method)(size=SIZES[size], **settings).fit(frames)
    return detector.save(folder / "model.amiss")


def film(folder: Path) -> Path:
    """An mp4 of test frames, of which most are anomalous, at their own size."""
    with Film(folder / "film.mp4", RATE) as film:
        for item in amiss.open_images("ucsd-ped2:test")[:FILMED]:
            film.add(item.read())
    return folder / "film.mp4"


def looped(video: str) -> Iterator[Item]:
    """The frames of a film, again and again."""
    items = amiss.open_images(video)
    while True:
        yield from items


def decoding(video: str, seconds: float) -> float:
    """Frames a second that are decoded, and nothing else."""
    return _median_rate((item.read() for item in looped(video)), RATE, seconds)


def scoring(path: str, video: str, seconds: float) -> float:
    """Frames a second that are decoded, prepared and scored, once all is warm."""
    model = amiss.load(path)
    return _median_rate(model.rows(looped(video)), model.batch_size, seconds)


def _median_rate(things: Iterator[object], together: int, seconds: float) -> float:
    """Things a second, of several rounds of whole batches, behind a first one that does not count."""
    rates = []
    _take(things, together)
    for _ in range(ROUNDS):
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() - start < seconds:
            _take(things, together)
            count += together
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def _take(things: Iterator[object], count: int) -> None:
    for _ in itertools.islice(things, count):
        pass


def resident(model: str, video: str, frames: int) -> dict[str, Any]:
    """Resident memory in MiB after so many frames, of watching with films and events, and how long it took."""
    curve: list[tuple[int, float]] = []
    wanted = [max(1, round(point * frames)) for point in POINTS]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        watcher = Watcher(amiss.load(model), Path(folder), rate=RATE)

        def each(row: object, smoothed: float) -> None:
            if watcher.frames + 1 in wanted:
                curve.append((watcher.frames + 1, _resident()))

        for _ in watcher.watch(itertools.islice(looped(video), frames), each=each):
            pass
        films = len(list(Path(folder).glob("*.mp4")))
    return {"curve": curve, "events": watcher.count, "films": films, "seconds": time.perf_counter() - start}


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def in_process(*arguments: str) -> Any:
    """What this script prints when called with arguments, in a process that has done nothing else."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rates(folder: Path, options: argparse.Namespace, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The part of the results, after every row anew; rows that are not measured stay."""
    video, seconds = str(film(folder)), str(options.seconds)
    found: dict[str, Any] = {"decoding": in_process("decoding", video, seconds), "scoring": kept.get("scoring", {})}
    print(f"decoding alone: {found['decoding']:.0f}", flush=True)
    for row in options.methods:
        speeds = {}
        for size in SIZES:
            speeds[size] = in_process("scoring", str(fit(row, size, folder)), video, seconds)
            print(f"{row} at {size}: {speeds[size]:.1f}", flush=True)
        found["scoring"][row] = speeds
        yield found


def memory(folder: Path, options: argparse.Namespace, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    model = fit("frame_difference", "240x360", folder)
    found: dict[str, Any] = in_process("resident", str(model), str(film(folder)), str(options.frames))
    print("memory", found, flush=True)
    yield found


PARTS = {"rates": rates, "memory": memory}


def write(facts: dict[str, Any], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "speed_video.json").write_text(json.dumps(facts, indent=1) + "\n")
    text = ["# Speed and memory of video", ""]
    if "rates" in facts:
        part = facts["rates"]
        text += [
            "## From a file to scores, frames a second",
            "",
            "Decoding an mp4 (H.264) of UCSD Ped2, 240 x 360 pixels, preparing and scoring its frames, in one process; "
            f"median of {ROUNDS} rounds. *Times real time*: against {RATE} frames a second. Decoding alone: "
            f"{part['decoding']:.0f} frames a second, {part['decoding'] / RATE:.0f} times real time.",
            "",
            "| method | " + " | ".join(f"at {size} | times real time" for size in SIZES) + " |",
            "|" + " --- |" * (1 + 2 * len(SIZES)),
        ]
        for row, speeds in sorted(part["scoring"].items(), key=lambda each: list(METHODS).index(each[0])):
            cells = [f"{_figure(speeds[size])} | {_figure(speeds[size] / RATE)}" for size in SIZES]
            text.append(f"| {row} | " + " | ".join(cells) + " |")
        text += ["", f"Machine: {part['machine']}. Command: `{part['command']}`.", ""]
    if "memory" in facts:
        part = facts["memory"]
        frames = part["curve"][-1][0]
        text += [
            "## Memory of watching",
            "",
            f"Resident memory while `frame_difference` at 240x360 watches {frames:,} frames, "
            f"{frames / RATE / 60:.0f} minutes at {RATE} a second: a film of UCSD Ped2 again and again, with "
            f"{part['events']} events and a film of each, in {part['seconds'] / 60:.1f} minutes.",
            "",
            "| frames | " + " | ".join(f"{count:,}" for count, _ in part["curve"]) + " |",
            "|" + " --- |" * (1 + len(part["curve"])),
            "| MiB | " + " | ".join(f"{size:.0f}" for _, size in part["curve"]) + " |",
            "",
            f"Machine: {part['machine']}. Command: `{part['command']}`.",
            "",
        ]
    (folder / "speed_video.md").write_text("\n".join(text))


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    verb, *rest = sys.argv[1:] or ["all"]
    if verb == "decoding":
        print(decoding(rest[0], float(rest[1])))
    elif verb == "scoring":
        print(scoring(rest[0], rest[1], float(rest[2])))
    elif verb == "resident":
        print(json.dumps(resident(rest[0], rest[1], int(rest[2]))))
    else:
        measure()


def measure() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="rates, memory; without any, both")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of three rounds")
    parser.add_argument("--frames", type=int, default=90_000, help="that are watched")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    options = parser.parse_args()
    kept = options.results / "speed_video.json"
    facts = json.loads(kept.read_text()) if kept.exists() else {}
    asked = " ".join(sys.argv[1:]).replace(f"--results {options.results}", "").strip()
    how = {"machine": versions.machine(), "command": f"python benchmarks/speed_video.py {asked}".strip()}
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as name:
            for found in PARTS[part](Path(name), options, facts.get(part, {})):
                facts[part] = found | how
                write(facts, options.results)


if __name__ == "__main__":
    main()
