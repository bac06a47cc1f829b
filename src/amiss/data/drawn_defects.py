"""Defects drawn into photographs of a surface, each with the mask of what it covers; none was photographed.

For demonstrations alone: no method learns from them, and they share nothing with `amiss.anomalies`, from which some do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

#: Gray picture (h, w) in [0, 1].
Picture = NDArray[np.float64]
#: How much of each pixel a defect covers (h, w), from 0 to 1.
Cover = NDArray[np.float64]
Defect = Callable[[Picture, np.random.Generator], tuple[Picture, Cover]]

#: A defect is drawn again, elsewhere, until it changes what it covers by this share of the picture's own deviation.
_VISIBLE, _TRIES = 0.5, 50
#: Lines are drawn so many times larger, then shrunk, for smooth edges.
_FINER = 4


@dataclass(frozen=True)
class Thing:
    """Something cut out of another photograph: gray pixels (h, w) in [0, 1], and the cover (h, w) of its outline."""

    pixels: Picture
    cover: Cover


def draw_defect(picture: Picture, defect: Defect, generator: np.random.Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """Draw a defect that can be seen.

    Args:
        picture: square, (s, s) in [0, 1].
        defect: one of this module, such as `crack`.
        generator: chooses its place, form and strength.

    Returns: the picture (s, s) in [0, 1] with the defect, and its mask (s, s).
    """
    for _ in range(_TRIES):
        drawn, cover = defect(picture, generator)
        drawn, mask = drawn.clip(0, 1), cover > 0.3
        if mask.any() and np.abs(drawn - picture)[mask].mean() > _VISIBLE * picture.std():
            break
    return drawn, mask


def crack(picture: Picture, generator: np.random.Generator) -> tuple[Picture, Cover]:
    """A thin dark line that wanders, sometimes with a branch; its lower edge catches the light."""
    side = len(picture)
    canvas = Image.new("L", (_FINER * side, _FINER * side))
    width = side * generator.uniform(0.006, 0.018)
    angle = generator.uniform(0, 2 * np.pi)
    path = _path(_between(generator, 0.25, 0.9) * side, angle, generator)
    path += generator.uniform(0.3, 0.7, 2) * side - path.mean(axis=0)
    _stroke(canvas, path, width, generator)
    if generator.random() < 0.5:
        begin = generator.integers(len(path) // 3, 2 * len(path) // 3)
        turn = generator.choice([-1, 1]) * generator.uniform(0.4, 1.0)
        branch = _path(0.4 * len(path), angle + turn, generator)
        _stroke(canvas, branch - branch[0] + path[begin], 0.7 * width, generator)
    line = np.asarray(canvas.resize((side, side), Image.Resampling.BOX), dtype=np.float64) / 255
    lip = (np.pad(line, ((1, 0), (1, 0)))[:-1, :-1] - line).clip(0)
    drawn = picture * (1 - generator.uniform(0.4, 0.8) * line) + generator.uniform(0.05, 0.2) * lip
    return drawn, _filtered(line, ImageFilter.MaxFilter(3))


def stain(picture: Picture, generator: np.random.Generator) -> tuple[Picture, Cover]:
    """A mottled, soft discoloration with a faint rim, as oil, water or lime leaves it; three of four are dark."""
    side = len(picture)
    inside = _blob(side, _between(generator, 0.1, 0.3), 0.25, 4, generator) + 0.12 * _clouds(side, 14, generator)
    cover = _step(inside / 0.6)
    rim = np.exp(-(((inside - 0.25) / 0.12) ** 2))
    mottled = 0.85 + 0.2 * _clouds(side, 7, generator) + 0.1 * _clouds(side, side // 3, generator)
    strength = _between(generator, 0.15, 0.55)
    tone = 0.0 if generator.random() < 0.75 else 0.8
    return picture + strength * np.clip(cover * mottled + 0.2 * rim, 0, 1.2) * (tone - picture), cover


def chip(picture: Picture, generator: np.random.Generator) -> tuple[Picture, Cover]:
    """A piece that broke off: a rough dent, lit from the upper left."""
    side = len(picture)
    inside = _blob(side, _between(generator, 0.07, 0.18), 0.25, 7, generator)
    inside += 0.08 * _clouds(side, side // 6, generator)
    cover = _step(inside / 0.15)
    depth = inside.clip(0, 0.5) + 0.06 * _clouds(side, side // 5, generator)
    depth += 0.04 * _clouds(side, side // 3, generator)
    down, across = np.gradient(depth)
    shade = np.clip(side / 96 * (down + across), -0.25, 0.25)
    ground = _filtered(picture, ImageFilter.GaussianBlur(side / 48))
    broken = ground * (1 - generator.uniform(0.05, 0.35)) - generator.uniform(0.4, 0.9) * shade
    broken += 0.015 * _clouds(side, side // 2, generator)
    return picture + cover * (broken - picture), cover


def smear(picture: Picture, generator: np.random.Generator) -> tuple[Picture, Cover]:
    """A patch whose texture is gone, as if something had been spread over it."""
    side = len(picture)
    cover = _step(_blob(side, _between(generator, 0.12, 0.3), 0.25, 4, generator) / 0.3)
    smooth = _filtered(picture, ImageFilter.GaussianBlur(side * generator.uniform(0.05, 0.12)))
    smooth += generator.uniform(-0.05, 0.05) + 0.01 * _clouds(side, side // 3, generator)
    opacity = generator.uniform(0.75, 1)
    return picture + opacity * cover * (smooth - picture), cover


def foreign(things: Sequence[Thing]) -> Defect:
    """One of these lies on the surface, turned and scaled, and throws a shadow."""

    def draw(picture: Picture, generator: np.random.Generator) -> tuple[Picture, Cover]:
        side = len(picture)
        thing = things[int(generator.integers(len(things)))]
        size = round(_between(generator, 0.14, 0.4) * side)
        angle = generator.uniform(0, 360)
        pixels, outline = (_placed(each, size, angle) for each in (thing.pixels, thing.cover))
        top, left = generator.integers(2, side - size - 4, 2)
        covered = outline > 0.5
        level = picture.mean() * generator.uniform(0.8, 1.5)
        pixels = level + generator.uniform(0.3, 0.8) * (pixels - pixels[covered].mean())
        cover = np.zeros_like(picture)
        cover[top : top + size, left : left + size] = outline
        shift = max(1, side // 48)
        shadow = np.pad(cover, ((shift, 0), (shift, 0)))[:-shift, :-shift]
        drawn = picture * (1 - 0.5 * _filtered(shadow, ImageFilter.GaussianBlur(side / 80)))
        place = drawn[top : top + size, left : left + size]
        place += outline * (pixels - place)
        return drawn, cover

    return draw


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    """A random number whose logarithm is uniform: small ones are as frequent as large ones."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _path(length: float, angle: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """A wandering line, a point (x, y) for every pixel of its length: (n, 2)."""
    headings = angle + np.cumsum(generator.normal(0, 0.15, round(length))) + generator.normal(0, 0.35, round(length))
    return np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1), axis=0)


def _stroke(canvas: Image.Image, path: NDArray[np.float64], width: float, generator: np.random.Generator) -> None:
    """Draw a line of about `width` pixels that ends in points."""
    pen = ImageDraw.Draw(canvas)
    taper = np.sin(np.linspace(0.05, np.pi - 0.05, len(path))) ** 0.5
    widths = _FINER * width * taper * generator.uniform(0.7, 1.3, len(path))
    for (x0, y0), (x1, y1), thick in zip(_FINER * path[:-1], _FINER * path[1:], widths[1:], strict=True):
        pen.line((x0, y0, x1, y1), fill=255, width=max(1, round(thick)))
        pen.ellipse((x1 - thick / 2, y1 - thick / 2, x1 + thick / 2, y1 + thick / 2), fill=255)


def _blob(side: int, radius: float, rough: float, cells: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(side, side): above 0 within an uneven, longish spot, and 1 at most; `radius` is its share of the side."""
    rows, columns = np.mgrid[:side, :side] / side - generator.uniform(0.2, 0.8, 2)[:, None, None]
    angle, stretch = generator.uniform(0, np.pi), generator.uniform(1, 1.7)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    aside = rows * np.cos(angle) - columns * np.sin(angle)
    around = max(cells, round(cells * 0.15 / radius))
    distance: NDArray[np.float64] = np.hypot(along / stretch, aside * stretch)
    return 1 - distance / radius + rough * _clouds(side, around, generator)


def _clouds(side: int, cells: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(side, side) smooth noise of mean 0 and deviation about 1, with `cells` hills along each side."""
    hills = Image.fromarray(generator.normal(0, 1.2, (cells, cells)).astype(np.float32))
    return np.asarray(hills.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)


def _step(values: NDArray[np.float64]) -> Cover:
    """A smooth step: 0 at 0 and below, 1 at 1 and above."""
    values = values.clip(0, 1)
    return values * values * (3 - 2 * values)


def _filtered(picture: Picture, how: ImageFilter.Filter) -> Picture:
    image = Image.fromarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(how), dtype=np.float64) / 255


def _placed(plane: Picture, size: int, angle: float) -> Picture:
    """Turned by an angle in degrees, and brought to (size, size)."""
    image = Image.fromarray(plane.astype(np.float32)).rotate(angle, Image.Resampling.BICUBIC)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.float64).clip(0, 1)
