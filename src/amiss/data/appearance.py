"""How a picture looks apart from what it shows: shape, size, depth, light, sharpness; and how pictures usually look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .collection import Pixels

#: Light and colour are measured on at most so many pixels a side, sharpness on so many rows and columns: enough for a
#: mean.
_SAMPLED = 128
#: Contrast at which a picture begins to show anything; below, sharpness is that of noise.
_FAINT = 0.02
#: Keeps logarithms finite.
_TINY = 1e-9
#: A picture of 16 bits whose largest value is below this is one of 12 bits or fewer, stored without being scaled.
_UNSCALED = 4096 / 65536


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is measured of one picture.

    Attributes:
        height, width: pixels, before preprocessing.
        bits: a channel, as stored: 8 or 16; 0 for floats, whose depth nobody knows.
        top: the largest value of a sample of the pixels, as stored, in [0, 1].
        brightness, contrast: mean and standard deviation of the prepared picture, in [0, 1].
        sharpness: mean absolute difference of neighbours in the prepared picture, in units of its contrast.
        saturation: mean of the largest less the smallest channel, in [0, 1]; 0 where the picture is gray.
    """

    height: int
    width: int
    bits: int
    top: float
    brightness: float
    contrast: float
    sharpness: float
    saturation: float

    @classmethod
    def of(cls, pixels: Pixels, prepared: NDArray[Any]) -> Appearance:
        """Measure a picture, in a fraction of a millisecond: decoded, (h, w) or (h, w, 3), and prepared, (c, h', w').

        >>> gray = np.full((40, 60), 51, np.uint8)
        >>> Appearance.of(gray, gray[None]).brightness
        0.2
        """
        whole = {"u1": 255, "u2": 65535}
        height, width = pixels.shape[:2]
        some = pixels[:: _step(height), :: _step(width)]
        full = whole.get(pixels.dtype.str[1:], 1)
        planes = prepared[prepared.shape[0] // 2]  # gray, or green, which is most of the light
        steps = _step(planes.shape[0]), _step(planes.shape[1])
        light = planes[:: steps[0], :: steps[1]]
        scale = 255 if prepared.dtype == np.uint8 else 1
        contrast = float(light.std()) / scale
        differences = (_differences(planes[:: steps[0]]) + _differences(planes[:, :: steps[1]].T)) / (2 * scale)
        return cls(
            height=height,
            width=width,
            bits=8 * pixels.dtype.itemsize if pixels.dtype.kind == "u" else 0,
            top=float(some.max()) / full,
            brightness=float(light.mean()) / scale,
            contrast=contrast,
            sharpness=differences / (contrast + _FAINT),
            saturation=_saturation(some) / full if some.ndim == 3 else 0.0,
        )

    def value(self, name: str) -> float:
        """A measure by its name: one of the attributes, `aspect` (width over height), or `side` (of the square of the
        same area, in pixels)."""
        if name == "aspect":
            return self.width / self.height
        return math.sqrt(self.width * self.height) if name == "side" else float(getattr(self, name))


class _Measure(NamedTuple):
    """A measure; what a picture with less or more of it is called; by which factor it may always differ; and what is
    added to it before values are compared by their ratio, because near 0 ratios mean nothing."""

    name: str
    less: str
    more: str
    factor: float
    added: float = 0.0

    def logarithm(self, value: float) -> float:
        return math.log(max(value + self.added, _TINY))


_MEASURES = (
    _Measure("aspect", "narrower", "wider", 1.05),
    _Measure("side", "smaller", "larger", 1.5),
    _Measure("brightness", "darker", "brighter", 1.15, 0.05),
    _Measure("contrast", "flatter", "of more contrast", 1.3, 0.01),
    _Measure("sharpness", "more blurred", "sharper", 1.3, 0.01),
    _Measure("saturation", "paler", "more colourful", 1.75, 0.05),
)


@dataclass(frozen=True)
class UsualAppearance:
    """How the normal images look.

    Attributes:
        images: how many there are.
        depths: bits a channel that occur among them.
        ranges: smallest and largest value of every measure, by its name.
    """

    images: int
    depths: Sequence[int]
    ranges: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, appearances: Sequence[Appearance]) -> UsualAppearance:
        """That of the given images, of which there is at least one."""
        names = ("top", *(measure.name for measure in _MEASURES))
        values = {name: [each.value(name) for each in appearances] for name in names}
        ranges = {name: [min(each), max(each)] for name, each in values.items()}
        return cls(len(appearances), sorted({each.bits for each in appearances}), ranges)

    def joined(self, others: UsualAppearance) -> UsualAppearance:
        """That of these images and others together."""
        ranges = {
            name: [min(low, others.ranges[name][0]), max(high, others.ranges[name][1])]
            for name, (low, high) in self.ranges.items()
        }
        return UsualAppearance(self.images + others.images, sorted({*self.depths, *others.depths}), ranges)

    def note(self, seen: Appearance) -> str | None:
        """In what a picture differs from all of these images, in words; None where every measure is within their range,
        or not far outside: by at most half of it, and more where few images tell it, on a scale of ratios.

        >>> dark, light = (np.full((1, 8, 8), level, np.uint8) for level in (20, 200))
        >>> usual = UsualAppearance.of([Appearance.of(light[0], light)] * 9)
        >>> usual.note(Appearance.of(dark[0], dark))
        'unlike the images learnt from: darker (brightness 0.078, theirs 0.78)'
        """
        told = [said for measure in _MEASURES if (said := self._told(measure, seen.value(measure.name)))]
        if seen.bits and seen.bits not in self.depths and any(self.depths):
            theirs = " or ".join(map(str, self.depths))
            told.append(f"{seen.bits} bits a channel (theirs {theirs})")
        if not self.unscaled and (unscaled := _unscaled(seen.bits, seen.top)):
            told.append(unscaled)
        return f"unlike the images learnt from: {'; '.join(told)}" if told else None

    @property
    def unscaled(self) -> str | None:
        """That these images are of 12 bits or fewer, stored in 16 and not scaled up, in words; else None."""
        return _unscaled(max(self.depths), self.ranges["top"][1])

    @property
    def in_words(self) -> str:
        """Depths and ranges, for people."""
        depths = [f"{bits} bits" if bits else "floats" for bits in self.depths]
        ranges = [f"{measure.name} {self._range(measure.name)}" for measure in _MEASURES]
        return ", ".join((" or ".join(depths), *ranges))

    def _range(self, name: str) -> str:
        low, high = map(_number, self.ranges[name])
        return low if low == high else f"{low} to {high}"

    def _told(self, measure: _Measure, value: float) -> str | None:
        low, high = self.ranges[measure.name]
        least, most, found = map(measure.logarithm, (low, high, value))
        beyond = max(math.log(measure.factor), (most - least) * (0.5 + 4 / self.images))
        if least - beyond <= found <= most + beyond:
            return None
        word = measure.less if found < least else measure.more
        return f"{word} ({measure.name} {_number(value)}, theirs {self._range(measure.name)})"


def _unscaled(bits: int, top: float) -> str | None:
    if bits != 16 or not 0 < top < _UNSCALED:
        return None
    value = round(top * 65535)
    return f"values up to {value} of 65535, as if {max(8, value.bit_length())} bits were stored in 16 and not scaled up"


def _step(length: int) -> int:
    return math.ceil(length / _SAMPLED)


def _saturation(pixels: Pixels) -> float:
    """Mean of the largest less the smallest channel of (h, w, 3)."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]  # along the last axis NumPy is ten times slower
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((largest - smallest).mean())


def _differences(rows: NDArray[Any]) -> float:
    """Mean absolute difference of neighbours along rows (n, m); 0 where there is one column."""
    if rows.shape[1] < 2:
        return 0.0
    return float(np.abs(np.diff(rows.astype(np.float32), axis=1)).mean())


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
