"""Pictures for people: an anomaly map laid over its image on a fixed scale, and images as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..calibration.maps import resized
from ..environment.files import atomic_write
from ..errors import DataError

#: Sides up to this many pixels are enlarged, pixel by pixel, or nobody could see them.
_TINY = 64

#: The scale: value v, red, green, blue, opacity. Lightness only rises, along the hues of the inferno map, so that the
#: order survives any colour blindness. Up to v = 1 (what normal images reach) dark and faint, beyond it clear.
_SCALE = np.array(
    [
        [0.00, 20, 6, 54, 0.00],
        [1.00, 55, 10, 94, 0.22],
        [1.15, 96, 18, 110, 0.62],
        [1.50, 150, 38, 103, 0.74],
        [2.00, 212, 72, 66, 0.80],
        [2.50, 246, 133, 18, 0.84],
        [3.00, 250, 205, 62, 0.88],
    ]
)


def overlay(image: NDArray[Any], anomaly_map: NDArray[np.float32], threshold: float, floor: float) -> NDArray[np.uint8]:
    """Lay an anomaly map over its image, on a scale that is the same for every picture.

    A pixel is shown by v = (map - floor) / (threshold - floor): nothing where v <= 0, faint and dark up to v = 1, which
    is as high as normal images reach, clearly coloured above, and no brighter than at v = 3. A picture without anything
    unusual therefore stays as it is, however its map is spread.

    Args:
        image: (h, w), (h, w, 1) or (h, w, 3); uint8, uint16, or float in [0, 1].
        anomaly_map: (h', w') of any size, resized bilinearly to the image; values that are not finite count as floor,
            +inf as highest.
        threshold: map value that normal images hardly ever exceed; where it is not finite, nothing is shown.
        floor: map value of an ordinary pixel of a normal image.

    Returns: (h, w, 3) uint8.

    >>> picture = np.full((4, 4), 200, np.uint8)
    >>> bool((overlay(picture, np.zeros((2, 2), np.float32), threshold=2.0, floor=1.0) == 200).all())
    True
    >>> overlay(picture, np.full((2, 2), 9, np.float32), threshold=2.0, floor=1.0)[0, 0].tolist()
    [244, 204, 79]

    Raises:
        DataError: an array of another shape.
    """
    base = _as_rgb(image)
    colour, opacity = _coloured(anomaly_map, threshold, floor, (base.shape[0], base.shape[1]))
    shown: NDArray[np.uint8] = np.rint(base * (1 - opacity) + colour * opacity).astype(np.uint8)
    return shown


def layer(anomaly_map: NDArray[np.float32], threshold: float, floor: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What `overlay` lays over an image, without the image: (height, width, 4) uint8, red, green, blue and opacity.

    Args:
        anomaly_map, threshold, floor: see `overlay`.
        size: (height, width) in pixels.

    >>> layer(np.full((2, 2), 9, np.float32), threshold=2.0, floor=1.0, size=(4, 4))[0, 0].tolist()
    [250, 205, 62, 224]
    """
    colour, opacity = _coloured(anomaly_map, threshold, floor, size)
    laid: NDArray[np.uint8] = np.rint(np.concatenate([colour, 255 * opacity], axis=2)).astype(np.uint8)
    return laid


def _coloured(
    anomaly_map: NDArray[np.float32], threshold: float, floor: float, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours (height, width, 3), 0 to 255, and opacities (height, width, 1), 0 to 1."""
    if anomaly_map.ndim != 2 or not anomaly_map.size:
        raise DataError(f"an anomaly map must have the shape (h, w), not {anomaly_map.shape}")
    if not (np.isfinite(threshold) and np.isfinite(floor)):
        return np.zeros((*size, 3)), np.zeros((*size, 1))
    span = max(threshold - floor, 1e-12 * max(abs(threshold), abs(floor), 1e-12))
    steps = (anomaly_map.astype(np.float64) - floor) / span
    steps = np.clip(np.nan_to_num(steps, nan=0.0, posinf=3.0, neginf=0.0), -3.0, 3.0)
    level = resized(steps.astype(np.float32), *size)
    red, green, blue, opacity = (np.interp(level, _SCALE[:, 0], _SCALE[:, column])[..., None] for column in range(1, 5))
    return np.concatenate([red, green, blue], axis=2), opacity


def shrunk(image: NDArray[Any], longest: int) -> NDArray[np.uint8]:
    """The image as (h, w) or (h, w, 3) uint8, its longest side at most `longest` pixels; never enlarged."""
    pixels = _as_uint8(image)
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (h, w) or (h, w, 3) as a PNG file, whole or not at all. Raises `WriteError`."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, "png")


def thumbnail_data_uri(image: NDArray[Any], longest: int = 420) -> str:
    """The image as a `data:` URI for a web page.

    Tiny images (up to 64 pixels) are enlarged by a whole factor, each pixel a square, and kept lossless as PNG; larger
    ones are shrunk so that the longest side is at most `longest` pixels, and kept as JPEG.

    Args:
        image: (h, w), (h, w, 1) or (h, w, 3); uint8, uint16, or float in [0, 1].
        longest: pixels.

    >>> thumbnail_data_uri(np.zeros((28, 28), np.uint8))[:22]
    'data:image/png;base64,'
    >>> thumbnail_data_uri(np.zeros((300, 500, 3), np.float32))[:23]
    'data:image/jpeg;base64,'

    Raises:
        DataError: an array of another shape.
    """
    pixels = shrunk(image, longest)
    side = max(pixels.shape[:2])
    stream = io.BytesIO()
    if side <= _TINY:
        factor = max(1, longest // side)
        pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
        kind = "png"
        Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    else:
        kind = "jpeg"
        Image.fromarray(pixels).save(stream, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def css_scale() -> str:
    """The colours of `overlay` from v = 0 to v = 3 as they look over white, as a CSS gradient for a legend."""
    stops = []
    for value, red, green, blue, opacity in _SCALE:
        stops.append(f"rgb({red:.0f} {green:.0f} {blue:.0f} / {opacity:.2f}) {100 * value / 3:.1f}%")
    return f"linear-gradient(90deg, {', '.join(stops)})"


def _as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise DataError(f"a picture must have the shape (h, w) or (h, w, 3), not {image.shape}")
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    levels = np.nan_to_num(image.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(levels, 0.0, 1.0) * 255.0).astype(np.uint8)


def _as_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = _as_uint8(image)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()
