"""Sets of three kinds, as folders, on which the default was chosen: small defects, objects of one class, textures."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import amiss
from amiss.data import Collection, Item
from amiss.data.drawn_defects import chip, crack, draw_defect, smear, stain
from amiss.data.examples import make_example

Pixels = NDArray[np.uint8]
#: Most images of each part: normal ones to learn from, and of either label to test on.
LEARNT, TESTED = 200, 100
#: Divisions of magnet tiles by tile.
FOLDS = 3


def write(folder: Path, part: str, images: Iterable[Pixels], masks: Iterable[NDArray[np.bool_] | None] = ()) -> None:
    """`part` is good, or test/KIND, as in MVTec's layout."""
    target = folder / part
    target.mkdir(parents=True)
    marks = folder / "ground_truth" / target.name
    known = iter(masks)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(target / f"{number:04d}.png")
        mask = next(known, None)
        if mask is not None:
            marks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(marks / f"{number:04d}_mask.png")


def drawn(items: Collection | list[Item], count: int, seed: int) -> list[Item]:
    """So many of the items at random, in their order."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(items))[:count])
    return [items[int(index)] for index in chosen]


def magnet_tiles(folder: Path, fold: int, learnt: int = LEARNT) -> None:
    """Magnet tiles by tile: the good ones of train and dev in three parts, one to test on; the defects are dev's."""
    known = [item for part in ("train", "dev") for item in amiss.open_images(f"magnetic-tile:{part}", "eval")]
    good = [item for item in known if not item.anomalous]
    groups = np.random.default_rng(0).permutation(sorted({str(item.group) for item in good}))
    held = set(np.array_split(groups, FOLDS)[fold].tolist())
    test = drawn([item for item in good if item.group in held], TESTED, fold)
    bad = drawn([item for item in known if item.anomalous], TESTED, fold)
    others = [item for item in good if item.group not in held]
    write(folder, "good", (item.read() for item in drawn(others, learnt, fold)))
    write(folder, "test/good", (item.read() for item in test))
    masks = (None if item.mask is None else np.asarray(Image.open(item.mask).convert("L")) > 127 for item in bad)
    write(folder, "test/defect", (item.read() for item in bad), masks)


def surface(folder: Path, name: str) -> None:
    """A photograph of a surface cut into places, with drawn defects: that of `amiss demo`."""
    example = make_example(name, 0)
    write(folder, "good", example.learnt)
    write(folder, "test/good", example.good)
    for kind, (pictures, masks) in example.defective.items():
        write(folder, f"test/{kind}", pictures, masks)


def thing(folder: Path, photograph: str, turn: float, learnt: int = LEARNT) -> None:
    """A photograph of a thing, moved by up to 3 pixels, turned by up to so many degrees, lit by up to 8 % otherwise."""
    rng, side = np.random.default_rng(0), 224
    source = importlib.resources.files("skimage.data") / photograph
    with importlib.resources.as_file(source) as file:
        picture = Image.open(file).convert("L")
    shorter = min(picture.size)
    left, top = (picture.width - shorter) // 2, (picture.height - shorter) // 2
    picture = picture.crop((left, top, left + shorter, top + shorter)).resize((side, side), Image.Resampling.LANCZOS)
    rows, columns = np.mgrid[:side, :side] - side / 2
    outside = (rows**2 + columns**2 > (0.46 * side) ** 2) & (turn > 0)

    def view() -> NDArray[np.float64]:
        moved = picture.rotate(
            rng.uniform(-turn, turn), Image.Resampling.BICUBIC, translate=tuple(rng.uniform(-3, 3, 2).tolist())
        )
        values = np.asarray(moved, dtype=np.float64) / 255 * rng.uniform(0.92, 1.08)
        return np.where(outside, 0.5, values + rng.normal(0, 0.012, values.shape)).clip(0, 1)

    def eight_bit(values: NDArray[np.float64]) -> Pixels:
        return np.rint(values * 255).astype(np.uint8)

    write(folder, "good", (eight_bit(view()) for _ in range(learnt)))
    write(folder, "test/good", (eight_bit(view()) for _ in range(TESTED)))
    for kind in (crack, stain, chip, smear):
        bad = [draw_defect(view(), kind, rng) for _ in range(TESTED // 4)]
        write(folder, f"test/{kind.__name__}", (eight_bit(each) for each, _ in bad), (mask for _, mask in bad))


def one_class(folder: Path, data: str, normal: int, learnt: int = LEARNT) -> None:
    """One class of a labelled set is normal, the others are not."""
    good = amiss.open_images(f"{data}:train:normal={normal}", "fit").normal
    test = amiss.open_images(f"{data}:test:normal={normal}", "eval")
    write(folder, "good", (item.read() for item in drawn(good, learnt, 0)))
    for part, anomalous in (("test/good", False), ("test/other", True)):
        some = [item for item in test if bool(item.anomalous) is anomalous]
        write(folder, part, (item.read() for item in drawn(some, 3 * TESTED, 0)))


def scene(folder: Path) -> None:
    """Single frames of UCSD Ped2: pedestrians, and in the test clips 1 to 6 cyclists, skaters and carts."""
    write(
        folder, "good", (item.read() for item in drawn(amiss.open_images("ucsd-ped2:train", "fit").normal, LEARNT, 0))
    )
    early = [f"Test{number:03d}" for number in range(1, 7)]
    test = [item for item in amiss.open_images("ucsd-ped2:test", "eval") if any(clip in item.name for clip in early)]
    for part, anomalous in (("test/good", False), ("test/other", True)):
        write(
            folder,
            part,
            (item.read() for item in drawn([i for i in test if bool(i.anomalous) is anomalous], TESTED, 0)),
        )


SETS: dict[str, Callable[[Path], None]] = {
    **{f"magnet tiles {fold + 1}": lambda folder, fold=fold: magnet_tiles(folder, fold) for fold in range(FOLDS)},
    "brick": lambda folder: surface(folder, "brick"),
    "gravel": lambda folder: surface(folder, "gravel"),
    "coffee": lambda folder: thing(folder, "coffee.png", 2),
    "motorcycle": lambda folder: thing(folder, "motorcycle_left.png", 2),
    "coffee, turned": lambda folder: thing(folder, "coffee.png", 180),
    "coins, turned": lambda folder: thing(folder, "coins.png", 180),
    **{f"garments {n}": lambda folder, n=n: one_class(folder, "fashion-mnist", n) for n in (0, 3, 6)},
    "digit 3": lambda folder: one_class(folder, "mnist", 3),
    **{f"cifar-10 {n}": lambda folder, n=n: one_class(folder, "cifar-10", n) for n in (0, 3, 6)},
    "ped2 frames": scene,
}


def written(work: Path, name: str) -> Path:
    """The folder of a set, written where it is missing."""
    folder = work / name.replace(", ", "-").replace(" ", "-")
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        SETS[name](partial)
        partial.rename(folder)
    return folder
