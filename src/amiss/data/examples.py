"""An example to try amiss on: photographs of surfaces that come with scikit-image, with defects drawn in."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..environment import files, versions
from ..errors import DataError, UsageError
from .decode import read_image
from .drawn_defects import Picture, Thing, chip, crack, draw_defect, foreign, smear, stain

#: What can be promised with so many pictures to learn from: a fifth of them calibrates, and 19 are the fewest for 5 %.
FALSE_ALARM_RATE = 0.05
_LEARNT = 95
#: Pixels along each side of a place of the photograph, and of its picture.
_PLACE, _SIDE = 42, 128
#: Coins that stand apart in their photograph: top, left, bottom, right, in pixels.
_COINS = (
    (16, 305, 72, 365),
    (95, 245, 144, 296),
    (106, 317, 145, 356),
    (156, 315, 218, 380),
    (170, 189, 217, 237),
    (175, 80, 217, 124),
    (236, 144, 288, 201),
    (239, 276, 289, 326),
    (245, 93, 287, 136),
)
_SOURCES = (
    "Both surfaces are from CC0Textures (CC0), the coins from the Brooklyn Museum (no known copyright restrictions)."
)
#: Pixels around a coin that show what it lies on.
_AROUND = 5


@dataclass(frozen=True)
class Surface:
    """A photograph of scikit-image, 512x512 gray pixels.

    Attributes:
        words: what it shows.
        upright: quarter turns that bring it upright.
        any_way: does it look natural turned by 90 degrees?
    """

    words: str
    upright: int
    any_way: bool


SURFACES = {
    "brick": Surface("a brick wall", upright=1, any_way=False),
    "gravel": Surface("gravel", upright=0, any_way=True),
}


@dataclass(frozen=True)
class Example:
    """Square gray pictures of a surface, uint8, with s = 128 pixels a side.

    Attributes:
        surface: its name, of `SURFACES`.
        learnt: (95, s, s) of so many places, to learn from.
        good: (49, s, s) of other places, to be scored.
        defective: for each kind of defect pictures (m, s, s) and masks (m, s, s), bool; each of the 49 places once.
    """

    surface: str
    learnt: NDArray[np.uint8]
    good: NDArray[np.uint8]
    defective: dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]]

    @property
    def words(self) -> str:
        """What the pictures are, in a few sentences."""
        learnt, tested = len(self.learnt), len(self.good)
        return (
            f"A photograph of {SURFACES[self.surface].words}, which comes with scikit-image, cut into "
            f"{learnt + tested} places that do not overlap: {learnt} to learn from and {tested} to test on, once as "
            f"they are and once with a defect. The defects ({', '.join(self.defective)}) were drawn in by us; we also "
            "enlarged the pictures and varied their orientation and light."
        )

    def write(self, folder: Path) -> None:
        """Write all pictures as PNG files: `good/` to learn from, `test/KIND/`, and masks in `ground_truth/KIND/`.

        A file `about.txt` says what they are. Pictures of an earlier example are written over.

        Raises:
            UsageError: the folder holds something else.
            WriteError: it cannot be written to.
        """
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; give the name of a folder")
        about = folder / "about.txt"
        if not about.exists() and folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no earlier example; give the name of a new folder")
        files.write_text(about, f"{self.words}\n\n{_SOURCES}\n")
        _write(folder / "good", self.learnt)
        _write(folder / "test" / "good", self.good)
        for kind, (pictures, masks) in self.defective.items():
            _write(folder / "test" / kind, pictures)
            _write(folder / "ground_truth" / kind, masks.astype(np.uint8) * 255, "_mask")


def make_example(surface: str, seed: int) -> Example:
    """Cut the photograph of a surface into places, and draw defects into some.

    The photograph is divided into a grid of 144 places that do not overlap, and chance alone decides which are learnt
    from. So pictures to learn from and good pictures to test on are exchangeable, however neighbours resemble each
    other, and what is promised of the former holds for the latter. Each of the 49 test places is shown twice: as it
    is, and with a defect, in another orientation and light.

    Args:
        surface: of `SURFACES`.
        seed: chooses places, orientations, light and defects.

    Raises:
        UsageError: no such surface.
        MissingExtraError: scikit-image is not installed.
        DataError: its photographs are missing.
    """
    if surface not in SURFACES:
        raise UsageError(f"surface is {surface!r}; it must be one of {', '.join(SURFACES)}")
    generator = np.random.default_rng(seed)
    kind = SURFACES[surface]
    photograph = np.rot90(_photograph(f"{surface}.png"), kind.upright)
    starts = range(0, len(photograph) - _PLACE + 1, _PLACE)
    places = [photograph[top : top + _PLACE, left : left + _PLACE] for top in starts for left in starts]
    order = generator.permutation(len(places))
    defects = {"crack": crack, "stain": stain, "chip": chip, "smear": smear, "coin": foreign(_coins())}

    def view(place: int) -> Picture:
        return _enlarged(_turned(places[place], kind.any_way, generator))

    def shown(pictures: list[Picture]) -> NDArray[np.uint8]:
        return np.stack([np.rint(255 * _lit(each, generator)).astype(np.uint8) for each in pictures])

    learnt, tested = order[:_LEARNT], order[_LEARNT:]
    defective = {}
    for number, (name, defect) in enumerate(defects.items()):
        drawn = [draw_defect(view(place), defect, generator) for place in tested[number :: len(defects)]]
        defective[name] = shown([picture for picture, _ in drawn]), np.stack([mask for _, mask in drawn])
    return Example(surface, shown([view(each) for each in learnt]), shown([view(each) for each in tested]), defective)


def _photograph(name: str) -> NDArray[np.uint8]:
    """A gray photograph (h, w) out of scikit-image's own folder; its functions might download it."""
    versions.require("train", "the demonstration", "skimage")
    with importlib.resources.as_file(importlib.resources.files("skimage") / "data" / name) as path:
        if not path.is_file():
            raise DataError(f"{path} is missing; install scikit-image anew: pip install --force-reinstall scikit-image")
        return read_image(path)


def _coins() -> list[Thing]:
    photograph = _photograph("coins.png")
    things = []
    for top, left, bottom, right in _COINS:
        pixels = photograph[top - _AROUND : bottom + _AROUND, left - _AROUND : right + _AROUND]
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        bright = Image.fromarray(np.uint8(255) * (pixels > np.percentile(edge, 98) + 10))
        closed = bright.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
        ImageDraw.floodfill(closed, (0, 0), 128)  # what lies around the coin; dark spots within it are not reached
        outline = Image.fromarray(np.uint8(255) * (np.asarray(closed) != 128)).filter(ImageFilter.MedianFilter(7))
        things.append(Thing(pixels / 255, np.asarray(outline) / 255))
    return things


def _turned(place: NDArray[np.uint8], any_way: bool, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrored or not, and turned by 180 degrees, or also by 90, or not."""
    turns = int(generator.integers(4)) if any_way else 2 * int(generator.integers(2))
    turned = np.rot90(place, turns)
    return np.fliplr(turned) if generator.random() < 0.5 else turned


def _enlarged(place: NDArray[np.uint8]) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(place))
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float64) / 255


def _lit(picture: Picture, generator: np.random.Generator) -> Picture:
    """Another exposure and contrast, and light that falls off to one side."""
    angle = generator.uniform(0, 2 * np.pi)
    rows, columns = np.linspace(-1, 1, len(picture))[:, None], np.linspace(-1, 1, len(picture))
    slope = generator.uniform(0, 0.06) * (np.cos(angle) * columns + np.sin(angle) * rows)
    contrast = generator.uniform(0.9, 1.1)
    lit: Picture = picture.mean() + contrast * (picture - picture.mean())
    lit *= generator.uniform(0.92, 1.08) * (1 + slope)
    return lit.clip(0, 1)


def _write(folder: Path, pictures: NDArray[np.uint8], ending: str = "") -> None:
    files.make_folder(folder)
    for number, picture in enumerate(pictures):
        with files.atomic_write(folder / f"{number:03d}{ending}.png") as file:
            Image.fromarray(picture).save(file, "PNG")
