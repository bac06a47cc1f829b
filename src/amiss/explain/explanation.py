"""What an explanation says: a map, the regions that stand out of it, and a sentence that can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration.maps import smoothed

#: A pixel belongs to a region from this share of the map's height above its median on.
_STANDS_OUT = 0.5
#: Share of the image from which no location is named.
_ALL_OVER = 0.5


@dataclass(frozen=True)
class Region:
    """A rectangle in pixels of the prepared image (as large as the map).

    Attributes:
        top, left: its first row and column.
        height, width: pixels.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(h, w) bool, True inside."""
        mask = np.zeros(size, dtype=np.bool_)
        mask[self.slices] = True
        return mask


@dataclass(frozen=True)
class Replaced:
    """What becomes of the score when the marked pixels look as expected.

    Attributes:
        score, p_value: of the changed image.
        is_anomaly: would it still be flagged?
    """

    score: float
    p_value: float
    is_anomaly: bool


@dataclass(frozen=True)
class Explanation:
    """Why one image, or frame, has the score that it has.

    Attributes:
        name: what the image is called.
        explainer: registry name of what made the explanation.
        map: (h, w) float32 at the size of the prepared image, higher = more of a reason; negative values speak for
            normal.
        mask: (h, w) bool, the pixels that stand out.
        regions: the rectangles around the connected parts of `mask`, the strongest first.
        score, p_value, is_anomaly: of the image, as `FittedModel.score` gives them.
        replaced: the same when the pixels of `mask` look as expected.
        settings: of the explainer, its seed among them.
        filled: what the marked pixels, and others that were taken away, were filled with: `reconstruction`, `nearest`
            or `mean`.
        passes: how many inputs were scored.
        seconds: how long it took.
        says: see `Attribution`.
        notes: what the reader should know.
    """

    name: str
    explainer: str
    map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    regions: list[Region]
    score: float
    p_value: float
    is_anomaly: bool
    replaced: Replaced
    settings: dict[str, Any]
    filled: str
    passes: int
    seconds: float
    says: str | None
    notes: list[str]

    @property
    def words(self) -> str:
        """One sentence for people."""
        share = float(self.mask.mean())
        location = f"{percent(share)} of the image, {where(self.mask.shape, self.regions, share)}"
        verdict = "amiss" if self.is_anomaly else "normal"
        opening = f"{verdict} (p {self.p_value:.3f}): "
        if not self.mask.any():
            return opening + "no place stands out"
        if self.says is not None:
            return f"{opening}{self.says} {location}"
        after = f"as expected there, p would be {self.replaced.p_value:.3f}"
        if not self.is_anomaly:
            return opening + f"what stands out most is {location}; {after}"
        end = "still amiss" if self.replaced.is_anomaly else "normal"
        return opening + f"the reason sits in {location}; {after}: {end}"

    def as_record(self) -> dict[str, Any]:
        """Everything but map and mask, for JSON."""
        return {
            "name": self.name,
            "explainer": self.explainer,
            "words": self.words,
            "score": self.score,
            "p_value": self.p_value,
            "is_anomaly": self.is_anomaly,
            "size": list(self.map.shape),
            "share": float(self.mask.mean()),
            "regions": [asdict(region) for region in self.regions],
            "replaced": asdict(self.replaced),
            "passes": self.passes,
            "seconds": round(self.seconds, 4),
            "settings": self.settings,
            "filled": self.filled,
            "notes": self.notes,
        }


def standing_out(attribution: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(h, w) bool: where the smoothed map is nearer to its highest pixel than to its median.

    >>> spot = np.zeros((16, 16), np.float32)
    >>> spot[2:6, 2:6] = 1
    >>> int(standing_out(spot).sum()) in range(12, 26)
    True
    >>> bool(standing_out(np.zeros((16, 16), np.float32)).any())
    False
    """
    shown = smoothed(attribution)
    floor = max(float(np.median(shown)), 0.0)
    top = float(shown.max())
    if not top > floor:
        return np.zeros(shown.shape, dtype=np.bool_)
    mask: NDArray[np.bool_] = shown > floor + _STANDS_OUT * (top - floor)
    return mask


def regions_of(mask: NDArray[np.bool_], attribution: NDArray[np.float32]) -> list[Region]:
    """Rectangles around the connected parts of `mask` (8 neighbours), by their summed attribution, largest first."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    found = ndimage.find_objects(labels)
    weights = ndimage.sum_labels(attribution, labels, range(1, count + 1))
    regions = [
        Region(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in found
    ]
    return [regions[index] for index in np.argsort(-np.asarray(weights), kind="stable")]


def where(size: tuple[int, ...], regions: Sequence[Region], share: float) -> str:
    """In words, where the first of some regions lies, and how many others there are.

    Args:
        size: (h, w) of the image.
        regions: the strongest first.
        share: of the image that is marked; from a half on it is `all over`.

    >>> where((9, 9), [Region(1, 1, 1, 1)], 0.01), where((9, 9), [Region(0, 0, 9, 9)], 1.0)
    ('upper left', 'all over')
    >>> where((9, 9), [Region(4, 4, 1, 1), Region(8, 8, 1, 1)], 0.02)
    'in the centre and in 1 other place'
    """
    if not regions:
        return "nowhere"
    if share >= _ALL_OVER:
        return "all over"
    first = regions[0]
    vertical = ("upper", "middle", "lower")[int(3 * (first.top + first.height / 2) / size[0])]
    horizontal = ("left", "centre", "right")[int(3 * (first.left + first.width / 2) / size[1])]
    location = "in the centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
    others = len(regions) - 1
    return location + (f" and in {others} other place{'s' if others > 1 else ''}" if others else "")


def percent(share: float) -> str:
    """A share for people: two digits at least.

    >>> percent(0.0123), percent(0.2)
    ('1.2 %', '20 %')
    """
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
