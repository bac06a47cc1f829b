"""Broken and hostile files of every kind that is read: is each refused in one sentence, or read, and nothing else?

    OMP_NUM_THREADS=1 python benchmarks/broken_files.py                # 10,000 images, 1,000 of each other kind
    OMP_NUM_THREADS=1 python benchmarks/broken_files.py --share 0.1    # a tenth of them

Writes results/broken_files.md. Honest files are changed by a seed: bits flipped, cut, numbers of four bytes overwritten
by extreme ones (lengths among them), pieces repeated, moved and left out. Parts of model files are changed as well
behind new digests, so that what lies behind the digests is tried, too. A worker reads them one by one, and is watched:
an exception that is not amiss's own, one of several lines, a death, more than 10 s, more than 1.5 GB, a file opened for
writing, a process or connection begun, or a pickle loaded is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import amiss
from amiss.cli import quiet_libraries
from amiss.data import open_images
from amiss.data.boxes import boxes_collection
from amiss.data.decode import allow_pixels
from amiss.data.labels import read_events, read_groups
from amiss.environment import machine, versions
from amiss.errors import AmissError
from amiss.testing.videos import crossing, write_video

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "tests" / "registry" / "files"
#: How many files of each kind.
COUNTS = {"images": 10_000, "videos": 1_000, "model files": 1_000, "tables": 1_000}
MOST_SECONDS, MOST_MEGABYTES = 10.0, 1500
#: Pictures of a file, or frames of a video, that are read.
_PICTURES = 40
_EXTREME = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# -- honest files ------------------------------------------------------------------------------------------------------


def honest_images(folder: Path) -> list[Path]:
    """Some twenty pictures, of every format that is read."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 40))
    colour = np.rint(200 * np.stack([x, y, x * y], axis=2) + rng.integers(0, 50, (40, 60, 3))).astype(np.uint8)
    picture = Image.fromarray(colour)
    gray, deep = picture.convert("L"), Image.fromarray(colour[..., 0].astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    others = [gray.rotate(90).resize(picture.size).convert("RGB"), picture.rotate(180)]
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb.png": (picture, {}),
        "gray.png": (gray, {}),
        "palette.png": (picture.quantize(16), {}),
        "alpha.png": (picture.convert("RGBA"), {}),
        "deep.png": (deep, {}),
        "plain.jpg": (picture, {"quality": 80, "exif": turned}),
        "progressive.jpg": (picture, {"progressive": True}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "plain.bmp": (picture, {}),
        "plain.tif": (picture, {}),
        "lzw.tif": (gray, {"compression": "tiff_lzw"}),
        "jpeg.tif": (picture, {"compression": "jpeg"}),
        "pages.tif": (picture, {"save_all": True, "append_images": others, "compression": "tiff_deflate"}),
        "lossy.webp": (picture, {}),
        "frames.webp": (picture, {"save_all": True, "append_images": others, "lossless": True}),
        "frames.gif": (picture, {"save_all": True, "append_images": others}),
        "plain.avif": (picture, {}),
        "plain.jp2": (picture, {}),
    }
    made = []
    for name, (content, options) in kinds.items():
        made.append(folder / name)
        content.save(made[-1], **options)
    if versions.have("tifffile", "imagecodecs"):
        import tifffile

        made.append(folder / "tiles.tif")
        tifffile.imwrite(made[-1], colour.astype(np.uint16) * 257, tile=(16, 16), compression="zlib", photometric="rgb")
    if versions.have("pillow_heif"):
        import pillow_heif

        made.append(folder / "plain.heic")
        pillow_heif.from_pillow(picture).save(made[-1])
    return made


def honest_videos(folder: Path) -> list[Path]:
    frames = crossing(1, 30)
    return [
        write_video(folder / "a.mp4", frames),
        write_video(folder / "a.mkv", frames),
        write_video(folder / "a.avi", frames, codec="mpeg4"),
    ]


def honest_models(_: Path) -> list[Path]:
    return sorted(MODELS.glob("*.amiss"))


def honest_tables(folder: Path) -> list[Path]:
    texts = {
        "groups.csv": "file,group\n" + "".join(f"{i}.png,part {i // 3}\n" for i in range(12)),
        "events.csv": "video;start;end;kind\n" + "".join(f"a.mp4;{i};{i + 1};fall\n" for i in range(12)),
        "boxes.csv": "file,x,y,width,height,kind\n" + "".join(f"{i % 3}.png,{i},2,10,12.5,good\n" for i in range(12)),
        "coco.json": json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.png", "width": 16, "height": 16} for i in range(3)],
                "categories": [{"id": 1, "name": "scratch"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 5], "area": 25}],
            }
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


HONEST: dict[str, Callable[[Path], list[Path]]] = {
    "images": honest_images,
    "videos": honest_videos,
    "model files": honest_models,
    "tables": honest_tables,
}


# -- what is done to them ----------------------------------------------------------------------------------------------


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The content, changed in one to four ways; half of all places are in the first 256 bytes, where the heads are."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not content:
            break
        at = rng.randrange(min(len(content), 256) if rng.random() < 0.5 else len(content))
        size = rng.randint(1, max(1, min(len(content), 1 << rng.randint(0, 12))))
        way = rng.randrange(6)
        if way == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            del content[at:]
        elif way == 2:
            number = rng.choice(_EXTREME).to_bytes(4, rng.choice(("little", "big")))
            content[at : at + 4] = number
        elif way == 3:
            other = rng.randrange(len(content))
            content[at : at + size] = content[other : other + size]
        elif way == 4:
            del content[at : at + size]
        else:
            content[at:at] = content[at : at + size] * rng.choice((1, 3)) or rng.randbytes(size)
    return bytes(content)


def mutated_model(data: bytes, rng: random.Random) -> bytes:
    """The zip changed as it is, or one of its parts, packed anew with a digest that fits."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(parts))
    parts[name] = mutated(parts[name], rng)
    if name != "manifest.json":
        manifest = json.loads(parts["manifest.json"])
        manifest["sha256"][name] = hashlib.sha256(parts[name]).hexdigest()
        parts["manifest.json"] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in parts.items():
            archive.writestr(each, content)
    return buffer.getvalue()


# -- how they are read -------------------------------------------------------------------------------------------------


def read_pictures(path: Path) -> None:
    """As `amiss score` reads them: what cannot be read is told of each, and the first such ends the trial."""
    for item in list(open_images([str(path)], "score"))[:_PICTURES]:
        item.read()


def read_model(path: Path) -> None:
    """Loaded without torch, and asked about an image, as the service does."""
    model = amiss.load(path, without_torch=True)
    model.run(model.reference[:2])
    model.decision.explain()


def read_tables(path: Path) -> None:
    """By the reader of each, in a folder with the pictures that the table speaks of."""
    if path.name == "groups.csv":
        read_groups(path)
    elif path.name == "events.csv":
        read_events(path)
    elif path.name == "boxes.csv":
        for item in list(boxes_collection(path.parent, path))[:_PICTURES]:
            item.read()
    open_images([str(path.parent)], "fit")


READERS: dict[str, Callable[[Path], None]] = {
    "images": read_pictures,
    "videos": read_pictures,
    "model files": read_model,
    "tables": read_tables,
}


def tried(kind: str, path: Path) -> tuple[str, str]:
    """`read`, `refused` or `wrong`, and the sentence."""
    try:
        READERS[kind](path)
    except AmissError as error:
        sentence = str(error)
        return ("wrong", f"several lines: {sentence!r}") if "\n" in sentence or not sentence else ("refused", sentence)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    return "read", ""


def write_trial(kind: str, number: int, seed: int, honest: Sequence[Path], folder: Path) -> Path:
    """The file of one trial, which follows from its number and the seed."""
    rng = random.Random(f"{seed} {kind} {number}")
    original = rng.choice(honest)
    path = folder / original.name
    change = mutated_model if kind == "model files" else mutated
    path.write_bytes(change(original.read_bytes(), rng))
    return path


def make_room(kind: str, folder: Path) -> None:
    """Beside a table lie the pictures and the video that it speaks of."""
    folder.mkdir()
    if kind == "tables":
        write_video(folder / "a.mp4", crossing(1, 30))
        for number in range(12):
            Image.fromarray(np.full((16, 16), number, np.uint8)).save(folder / f"{number}.png")


# -- the watched worker ------------------------------------------------------------------------------------------------

_WATCHED = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "socket.connect",
    "pickle.find_class",
)


class _Watch:
    """What Python tells of files opened for writing, processes, connections and pickles."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _WATCHED:
            self.seen.append(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.seen.append(f"opened {arguments[0]} for writing")


def _peak() -> float:
    """Megabytes that the process held at most since it was asked last."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(text.split("VmHWM:")[1].split()[0]) / 1024
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


def work(kind: str, seed: int, honest: Sequence[Path], folder: Path, told: Connection) -> None:
    """Try files, one for every number that comes; answer each with what became of it."""
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))  # no trial may harm the machine
    allow_pixels(250_000_000)
    quiet_libraries()
    READERS[kind](honest[0]) if kind != "tables" else None  # what is loaded late is loaded now
    watch = _Watch()
    _peak()
    told.send(None)
    while (number := told.recv()) is not None:
        path = write_trial(kind, number, seed, honest, folder)
        before = set(folder.iterdir())
        watch.seen, watch.on = [], True
        begin = time.perf_counter()
        outcome, sentence = tried(kind, path)
        seconds = time.perf_counter() - begin
        watch.on = False
        if watch.seen or set(folder.iterdir()) != before:
            outcome, sentence = "wrong", "; ".join(watch.seen) or "it left a file"
        path.unlink()
        told.send((outcome, sentence, seconds, _peak()))


@dataclass
class Outcome:
    """Of one kind: how many were tried, read and refused, what was wrong, the longest and the largest."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Worker:
    """A process that tries files; another takes its place where it dies or takes too long."""

    def __init__(self, kind: str, seed: int, honest: Sequence[Path], folder: Path) -> None:
        self._given = (kind, seed, honest, folder)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._told, other = context.Pipe()
        self._process = context.Process(target=work, args=(*self._given, other), daemon=True)
        self._process.start()
        other.close()
        self._told.recv()

    def answer(self, number: int) -> tuple[str, str, float, float]:
        self._told.send(number)
        try:
            if self._told.poll(2 * MOST_SECONDS):
                found: tuple[str, str, float, float] = self._told.recv()
                return found
            reason = f"no answer within {2 * MOST_SECONDS:.0f} s"
        except EOFError:
            reason = "the process died"
        self.close()
        self._start()
        return "wrong", reason, 2 * MOST_SECONDS, 0.0

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._told.close()


def try_kind(kind: str, count: int, seed: int, folder: Path) -> Outcome:
    """Try so many files of one kind."""
    source, room = folder / "honest", folder / "trial"
    source.mkdir()
    make_room(kind, room)
    honest, outcome = HONEST[kind](source), Outcome()
    with closing(Worker(kind, seed, honest, room)) as worker:
        for number in range(count):
            became, sentence, seconds, megabytes = worker.answer(number)
            outcome.tried += 1
            outcome.read += became == "read"
            outcome.refused += became == "refused"
            outcome.seconds, outcome.megabytes = max(outcome.seconds, seconds), max(outcome.megabytes, megabytes)
            if became == "wrong":
                outcome.wrong.append(f"{number}: {sentence[:200]}")
            elif seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES:
                outcome.wrong.append(f"{number}: {seconds:.1f} s, {megabytes:.0f} MB; {sentence[:200]}")
    return outcome


_PAGE = """\
# Broken and hostile files

Written by `OMP_NUM_THREADS=1 python benchmarks/broken_files.py --share {share:g}`; seed {seed}.
Honest files of every kind that is read ({honest}) were
changed by bit flips, cuts, extreme numbers, and pieces repeated, moved and left out; parts of model files also behind
new digests. A worker read each as `amiss score` or the service would, and was watched. **Wrong** counts what was
neither read nor refused in one line by an error of amiss: other exceptions, deaths, more than {seconds:.0f} s or
{megabytes} MB, files opened for writing, processes, connections and pickles.
"""


def write_page(outcomes: dict[str, Outcome], honest: dict[str, int], share: float, seed: int) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in honest.items())
    lines = [
        _PAGE.format(share=share, seed=seed, honest=kinds, seconds=MOST_SECONDS, megabytes=MOST_MEGABYTES),
        f"Machine: {machine.cpu_name()}. amiss {amiss.__version__}, Pillow {Image.__version__}.",
        "",
        "| kind | tried | read | refused | wrong | longest | most memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {kind} | {each.tried} | {each.read} | {each.refused} | {len(each.wrong)} | {each.seconds:.1f} s | "
            f"{each.megabytes:.0f} MB |"
            for kind, each in outcomes.items()
        ),
    ]
    wrong = [f"- {kind}, {sentence}" for kind, each in outcomes.items() for sentence in each.wrong[:20]]
    if wrong:
        lines += ["", "What was wrong (the first of each kind):", "", *wrong]
    (ROOT / "results" / "broken_files.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(COUNTS)}; without any, all")
    parser.add_argument("--share", type=float, default=1.0, help="of the whole number of files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcomes, honest = {}, {}
    for kind in given.kinds or COUNTS:
        with tempfile.TemporaryDirectory(prefix="amiss-broken-") as folder:
            outcomes[kind] = try_kind(kind, round(COUNTS[kind] * given.share), given.seed, Path(folder))
            honest[kind] = len(list((Path(folder) / "honest").iterdir())) or len(honest_models(Path(folder)))
        print(kind, vars(outcomes[kind]), flush=True)
    write_page(outcomes, honest, given.share, given.seed)


if __name__ == "__main__":
    main()
