"""The one way from a decoded picture to what a network sees; stored as data in the model file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError
from .collection import Pixels
from .region_of_interest import RegionOfInterest

#: Largest side that is kept as it is when no size is asked for; the papers' networks are made for 28 to 128 pixels.
_LARGEST_KEPT = 128
#: Sides of the square of the same area that images are brought to for a backbone with ImageNet weights; small pictures
#: gain nothing by more.
_FOR_BACKBONE, _SMALL_FOR_BACKBONE, _SMALL_PICTURE = 256, 160, 64
#: Images smaller than this are enlarged, or four strided layers would leave nothing of them.
_SMALLEST_KEPT = 16


@dataclass(frozen=True)
class Preprocessing:
    """Colour, resize, scale: from pixels of any size to float32 in [0, 1].

    Attributes:
        colour: `gray` (one channel, ITU-R 601 luma of coloured input) or `rgb` (gray input repeated).
        height, width: pixels after resizing (bilinear, antialiased when shrinking).
        aspect: `stretch` brings every image to height and width; `keep` only shrinks what is larger, keeps its aspect,
            and fills up around it with its mirror image.
        roi: where in an image the model looks; None: everywhere. All else is filled in before the image is resized, so
            that no pixel of it has a part in any of the prepared image. Only where images are stretched.

    >>> import numpy as np
    >>> spec = Preprocessing("gray", 8, 8)
    >>> spec.shape, spec.prepare(np.full((16, 16, 3), 255, np.uint8)).max()
    ((1, 8, 8), np.uint8(255))
    """

    colour: Literal["gray", "rgb"]
    height: int
    width: int
    aspect: Literal["stretch", "keep"] = "stretch"
    roi: RegionOfInterest | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a prepared image."""
        return (1 if self.colour == "gray" else 3), self.height, self.width

    def prepare(self, pixels: Pixels) -> NDArray[Any]:
        """(h, w) or (h, w, 3) pixels to (c, height, width): uint8 where the source is uint8, else float32 in [0, 1]."""
        if self.colour == "gray" and pixels.ndim == 3:
            pixels = _luma(_unit(pixels))
        if self.roi is not None:
            pixels = self.roi.filled(pixels)
        rows, columns = self.region(*pixels.shape[:2])
        inner = (rows.stop - rows.start, columns.stop - columns.start)
        if pixels.shape[:2] != inner:
            pixels = _resize(pixels, *inner)
        pixels = _unit(pixels)
        if inner != (self.height, self.width):
            around = ((rows.start, self.height - rows.stop), (columns.start, self.width - columns.stop))
            pixels = np.pad(pixels, (*around, (0, 0))[: pixels.ndim], mode="symmetric")
        if self.colour == "rgb" and pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(planes)

    def region(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the prepared image that show an image of `height` x `width` pixels.

        >>> Preprocessing("gray", 100, 100, "keep").region(50, 200)
        (slice(37, 62, None), slice(0, 100, None))
        """
        if self.aspect == "stretch":
            return slice(0, self.height), slice(0, self.width)
        scale = min(1.0, self.height / height, self.width / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (self.height - inner[0]) // 2, (self.width - inner[1]) // 2
        return slice(top, top + inner[0]), slice(left, left + inner[1])

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """(height, width) of the prepared image, True where it shows any of the region of interest; None: all of it."""
        return None if self.roi is None else self.roi.touching(self.height, self.width)

    def to_dict(self) -> dict[str, Any]:
        """What the manifest of a model file holds."""
        roi = None if self.roi is None else asdict(self.roi) | {"runs": list(self.roi.runs)}
        return asdict(self) | {"roi": roi, "resize": "bilinear, antialiased", "scale": "[0, 1]"}


def to_float(batch: NDArray[Any]) -> NDArray[np.float32]:
    """Prepared images, uint8 or float32, to float32 in [0, 1]."""
    if batch.dtype == np.uint8:
        return batch.astype(np.float32) / np.float32(255)
    return batch.astype(np.float32, copy=False)


def shrunk_to(pixels: Pixels, longest: int) -> Pixels:
    """The picture, smaller where a side has more than `longest` pixels; never larger."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    return _resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def infer_preprocessing(
    samples: Iterable[Pixels],
    size: tuple[int, int] | str = "auto",
    aspect: Literal["stretch", "keep"] = "stretch",
    enlarged: bool = False,
) -> Preprocessing:
    """The preprocessing that suits some sample images.

    Gray where every sample is gray. `size` is (height, width); `native`: the size that all samples share, or, where the
    aspect is kept, one that holds the tallest and the widest; or `auto`: one shared size of 16 to 128 pixels a side is
    kept, anything else is brought to about 128 x 128 pixels of area (32 x 32 for tiny images) with the samples' median
    aspect ratio and sides that are multiples of 8. `enlarged`: for a backbone with ImageNet weights, `auto` is about
    256 x 256 pixels, or 160 x 160 for small pictures.
    """
    shapes, gray = [], True
    for pixels in samples:
        shapes.append(pixels.shape[:2])
        gray = gray and pixels.ndim == 2
    sizes = sorted(set(shapes))
    if size == "native":
        if len(sizes) > 1 and aspect == "stretch":
            raise UsageError(
                f"size=native needs images of one size, but {sizes[0][0]}x{sizes[0][1]} and "
                f"{sizes[-1][0]}x{sizes[-1][1]} were found; set aspect=keep, or give size=HxW"
            )
        height, width = (max(each) for each in zip(*sizes, strict=True))
    elif not isinstance(size, str):
        height, width = size
    elif enlarged:
        longest = np.median([max(each) for each in shapes])
        height, width = _of_area(shapes, _SMALL_FOR_BACKBONE if longest <= _SMALL_PICTURE else _FOR_BACKBONE)
    elif len(sizes) == 1 and min(sizes[0]) >= _SMALLEST_KEPT and max(sizes[0]) <= _LARGEST_KEPT:
        height, width = sizes[0]
    else:
        longest = np.median([max(each) for each in shapes])
        height, width = _of_area(shapes, 32 if longest < _SMALLEST_KEPT else _LARGEST_KEPT)
    return Preprocessing("gray" if gray else "rgb", int(height), int(width), aspect)


def _of_area(shapes: list[tuple[int, ...]], side: int) -> tuple[int, int]:
    """The median aspect ratio at the area of a square of this side."""
    aspect = float(np.clip(np.median([height / width for height, width in shapes]), 1 / 8, 8))
    height, width = side * aspect**0.5, side / aspect**0.5
    return max(32, round(height / 8) * 8), max(32, round(width / 8) * 8)


def _unit(pixels: Pixels) -> Pixels:
    """16 bits as float32 in [0, 1]; all else as it is."""
    if pixels.dtype != np.uint16:
        return pixels
    scaled = pixels.astype(np.float32)
    scaled /= np.float32(65535)
    return scaled


def _luma(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).convert("L"))
    return (pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float32)


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    size, method = (width, height), Image.Resampling.BILINEAR
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        return np.asarray(Image.fromarray(_unit(pixels)).resize(size, method))
    # one plane at a time: as floats, large pictures of 16 bits take much room
    planes = [np.asarray(Image.fromarray(_unit(plane)).resize(size, method)) for plane in np.moveaxis(pixels, 2, 0)]
    return np.stack(planes, axis=2)
