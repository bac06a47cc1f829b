"""Speed and memory, each as a ratio taken in one run on one machine.

    python benchmarks/speed.py             # everything
    python benchmarks/speed.py fusing      # one part anew; the others stay as they were

Needs Fashion-MNIST and magnetic-tile on disk (see `amiss data list`) and an otherwise idle machine. Writes
results/speed.json and results/speed.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.data.preprocessing import to_float
from amiss.environment import versions
from amiss.registry import get_method

RESULTS = Path(__file__).parent.parent / "results"
#: A small network and a large one; the others are one or the other with parts.
METHODS = ("adacl", "bcae1")
#: Scored from files; how well they have learnt does not matter here.
SCORED = {
    "adacl": {"epochs": 1},
    "bcae1": {"epochs": 1},
    "located_adacl": {"epochs": 1, "steps": 20},
    "panel": {"epochs": 1, "told": ("located_adacl.steps=20",)},
}
SHAPES = {"28x28 gray": (1, 28, 28), "128x128 gray": (1, 128, 128), "256x256 colour": (3, 256, 256)}


def best(action: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several times, in seconds, after one that does not count."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def layout(name: str, shape: tuple[int, int, int], way: str) -> float:
    """Images per second of an untrained scorer; run in a process of its own, since the allocator is set once."""
    import torch

    from amiss.engines.onnx_engine import OnnxEngine
    from amiss.engines.torch_engine import TorchEngine

    torch.manual_seed(0)
    scorer = get_method(name)().build(shape).eval()
    images = np.random.default_rng(0).random((max(1, min(256, (4 << 20) // int(np.prod(shape)))), *shape), np.float32)
    if way == "plain float32":
        batch = torch.from_numpy(images)

        def run() -> None:
            with torch.inference_mode():
                scorer(batch)

    elif way == "onnxruntime":
        from amiss.export.onnx_graph import export_onnx

        engine: Any = OnnxEngine(export_onnx(scorer, shape))

        def run() -> None:
            engine.run(images)

    else:
        engine = TorchEngine(scorer, way.removeprefix("amiss "))

        def run() -> None:
            engine.run(images)

    return len(images) / best(run)


def in_process(*arguments: str, **environment: str) -> Any:
    """What this script prints when called with arguments."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    return json.loads(done.stdout.splitlines()[-1])


def layouts() -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in METHODS:
        for title, shape in SHAPES.items():
            ways = {}
            for way in ("plain float32", "amiss float32", "amiss bfloat16", "onnxruntime"):
                keep = "0" if way == "plain float32" else "1"
                ways[way] = in_process("layout", name, json.dumps(shape), way, AMISS_KEEP_FREED_MEMORY=keep)
            rows[f"{name}, {title}"] = ways
            print(name, title, {way: round(speed) for way, speed in ways.items()}, flush=True)
    return rows


def fusing() -> dict[str, Any]:
    """Images per second through KS-CAE's network with its kernels apart, fused, and a plain network as wide."""
    import torch

    from amiss.networks.asymmetric import fuse

    rows = {}
    for title, shape in {"28x28 gray": (1, 28, 28), "128x128 gray": (1, 128, 128)}.items():
        networks = {
            "apart": get_method("ks_cae")().build(shape).eval(),
            "fused": fuse(get_method("ks_cae")().build(shape)).eval(),
            "plain": get_method("ks_cae")(conv="plain").build(shape).eval(),
        }
        images = torch.rand(max(1, min(256, (1 << 20) // int(np.prod(shape)))), *shape)
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        with torch.inference_mode():
            for _ in range(7):  # in turns, so that what else the machine does meets all of them
                for name, network in networks.items():
                    seconds[name].append(best(partial(network, images), repeats=1))
        rows[title] = {
            name: {
                "images_per_second": len(images) / float(np.median(seconds[name])),
                "weights": sum(weight.numel() for weight in network.parameters()),
            }
            for name, network in networks.items()
        }
        print("fusing", title, rows[title], flush=True)
    return rows


def fit_one_class() -> dict[str, Any]:
    rows = {}
    for name, epochs in (("adacl", 10), ("bcae1", 20)):
        start = time.perf_counter()
        detector = get_method(name)(epochs=epochs).fit("fashion-mnist:train:normal=0")
        whole = time.perf_counter() - start
        spent = detector.training_["stages"][-1]["seconds"]
        rows[f"{name}, {epochs} epochs at most"] = {"seconds": whole, "training": spent}
        print("fit", name, whole, flush=True)
    return rows


def files_to_scores(folder: Path) -> dict[str, Any]:
    """`amiss score` from files against a bare loop that decodes, resizes and runs the same network."""
    from PIL import Image

    from amiss.engines.torch_engine import TorchEngine

    paths = _tiles(folder, 4)
    rows = {}
    for name, settings in SCORED.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is not meant to learn much
            model = get_method(name)(size=(256, 256), **settings).fit("magnetic-tile:train").model_
        path = model.save(folder / f"{name}.amiss")
        engine = TorchEngine(model.torch_scorer(), model.calibration.precision.precision)
        batch = model.batch_size

        def bare(engine: Any = engine, batch: int = batch) -> float:
            start = time.perf_counter()
            for begin in range(0, len(paths), batch):
                images = [
                    np.asarray(Image.open(path).convert("L").resize((256, 256), Image.Resampling.BILINEAR))
                    for path in paths[begin : begin + batch]
                ]
                engine.run(to_float(np.stack(images)[:, None]))
            return len(paths) / (time.perf_counter() - start)

        def scored(path: Path = path) -> float:
            return float(in_process("score", str(path), str(folder / "tiles")))

        pairs = [(bare(), scored()) for _ in range(3)]
        rows[name] = {
            "bare loop": float(np.median([pair[0] for pair in pairs])),
            "amiss score": float(np.median([pair[1] for pair in pairs])),
            "ratio": float(np.median([pair[1] / pair[0] for pair in pairs])),
        }
        print("files", name, rows[name], flush=True)
    return rows


def _tiles(folder: Path, copies: int) -> list[Path]:
    tiles = folder / "tiles"
    tiles.mkdir()
    for item in amiss.open_images("magnetic-tile:train"):
        source = Path(item.name)
        for copy in range(copies):
            (tiles / f"{copy}-{source.name}").symlink_to(source)
    return sorted(tiles.iterdir())


def score_files(path: str, inputs: str) -> float:
    """Images per second of scoring a folder into a csv table, without the start of the interpreter."""
    from amiss.report.table import as_record, result_table

    model = amiss.load(path)
    collection = amiss.open_images(inputs)
    model.score(collection[: model.batch_size])  # the trial of precisions, and first calls
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, result_table(Path(folder) / "scores.csv", {}) as table:
        for row in model.rows(collection):
            table.write(as_record(row))
    return len(collection) / (time.perf_counter() - start)


def peak_memory(model: str, images: str) -> int:
    """Largest resident memory, in KiB, of scoring a folder into a csv table."""
    from amiss.cli import make_app

    make_app()(["score", model, images, "--out", f"{images}.csv"], standalone_mode=False)
    # not ru_maxrss, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def memory(folder: Path) -> dict[str, Any]:
    from PIL import Image

    detector = amiss.ADACL(epochs=1).fit("fashion-mnist:train:normal=0")
    model = detector.save(folder / "memory.amiss")
    peaks = {}
    for count in (1000, 50_000):
        images = folder / f"images-{count}"
        images.mkdir()
        for index, item in enumerate(amiss.open_images("fashion-mnist:train")[:count]):
            Image.fromarray(item.read()).save(images / f"{index}.png", compress_level=1)
        peaks[str(count)] = in_process("peak", str(model), str(images)) / 1024
        print("memory", count, peaks, flush=True)
    return {"MiB": peaks, "ratio": peaks["50000"] / peaks["1000"]}


def start_up() -> dict[str, float]:
    command = Path(sys.executable).with_name("amiss")
    return {
        "amiss --help, seconds": best(lambda: subprocess.run([command, "--help"], capture_output=True, check=True)),
        "import amiss, seconds": best(lambda: subprocess.run([sys.executable, "-c", "import amiss"], check=True)),
    }


def write(facts: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(facts, indent=1) + "\n")
    text = ["# Speed and memory", "", f"Machine: {facts['machine']}. Command: `python benchmarks/speed.py`.", ""]
    text += ["## Precision and layout, images per second", "",
             "Plain float32 is torch as it comes: contiguous images, the C library's allocator untouched. bfloat16 is "
             "used only where it keeps scores within 1 % of the calibration scores' interquartile range.", "",
             "| method, input | plain float32 | amiss float32 | ratio | amiss bfloat16 | onnxruntime |",
             "|" + " --- |" * 6]  # fmt: skip
    for name, ways in facts["layouts"].items():
        plain = ways["plain float32"]
        text.append(
            f"| {name} | {plain:.0f} | {ways['amiss float32']:.0f} | {ways['amiss float32'] / plain:.2f} | "
            f"{ways['amiss bfloat16']:.0f} | {ways['onnxruntime']:.0f} |"
        )
    text += ["", "## From files to scores at 256x256, images per second", "",
             "A bare loop decodes, resizes and runs the same network, on the same engine.", "",
             "| method | bare loop | amiss score | ratio |", "| --- | --- | --- | --- |"]  # fmt: skip
    text += [f"| {name} | {row['bare loop']:.0f} | {row['amiss score']:.0f} | {row['ratio']:.2f} |"
             for name, row in facts["files"].items()]  # fmt: skip
    text += ["", "## Fitting one Fashion-MNIST class (6,000 images)", "", "| method | seconds | of them training |",
             "| --- | --- | --- |"]  # fmt: skip
    text += [f"| {name} | {row['seconds']:.1f} | {row['training']:.1f} |" for name, row in facts["fit"].items()]
    text += ["", "## Fusing strengthened kernels (KS-CAE), images per second", "",
             "Plain torch, untrained networks of `ks_cae`'s filters, measured in turns. *Apart* is the network as it "
             "is trained, *fused* as it is saved, *plain* one of the same filters that never had them.", "",
             "| input | apart | fused | plain | fused : plain | weights apart | fused | plain |",
             "|" + " --- |" * 8]  # fmt: skip
    for name, row in facts["fusing"].items():
        speeds = [row[way]["images_per_second"] for way in ("apart", "fused", "plain")]
        weights = [f"{row[way]['weights']:,}" for way in ("apart", "fused", "plain")]
        cells = [*(f"{speed:.0f}" for speed in speeds), f"{speeds[1] / speeds[2]:.2f}", *weights]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    peaks = facts["memory"]["MiB"]
    text += ["", "## Peak memory of scoring, and start-up", "",
             f"- 1,000 images: {peaks['1000']:.0f} MiB; 50,000 images: {peaks['50000']:.0f} MiB; "
             f"ratio {facts['memory']['ratio']:.3f}"]  # fmt: skip
    text += [f"- {name}: {value:.2f}" for name, value in facts["start"].items()]
    (RESULTS / "speed.md").write_text("\n".join(text) + "\n")


PARTS: dict[str, Callable[[Path], Any]] = {
    "start": lambda folder: start_up(),
    "fit": lambda folder: fit_one_class(),
    "layouts": lambda folder: layouts(),
    "fusing": lambda folder: fusing(),
    "files": files_to_scores,
    "memory": memory,
}


def main() -> None:
    verb, *rest = sys.argv[1:] or ["all"]
    if verb == "layout":
        print(layout(rest[0], tuple(json.loads(rest[1])), rest[2]))
    elif verb == "score":
        print(score_files(*rest))
    elif verb == "peak":
        print(peak_memory(*rest))
    else:
        wanted = list(PARTS) if verb == "all" else [verb, *rest]
        kept = RESULTS / "speed.json"
        facts = json.loads(kept.read_text()) if kept.exists() else {}
        facts["machine"] = versions.machine()
        with tempfile.TemporaryDirectory() as name:
            facts |= {part: PARTS[part](Path(name)) for part in wanted}
        write(facts)


if __name__ == "__main__":
    main()
