"""An explanation as a picture: the map laid over the image, and frames around what stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..calibration.maps import smoothed
from .heatmap import overlay

if TYPE_CHECKING:
    from ..data.preprocessing import Preprocessing
    from ..explain.explanation import Explanation

#: The frame around a region, and its dark rim, so that it is seen on any ground.
_FRAME, _RIM = (255, 214, 10), (20, 20, 20)
#: Frames beyond these would only hide the picture.
_MOST_FRAMES = 5
#: Pictures with a shorter longest side are enlarged by a whole factor up to about it.
_SEEN = 256


def explained_picture(
    explanation: Explanation, picture: NDArray[Any], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: the picture with the explanation over it.

    What stands out is clearly coloured where the image is amiss, and faint where it is normal: its strangest pixel is
    no reason to worry. Small pictures are enlarged.

    Args:
        explanation: of the picture.
        picture: (h, w) or (h, w, 3), of any size.
        preprocessing: of the model; tells which part of the map shows the picture.
    """
    factor = max(1, _SEEN // max(picture.shape[:2]))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    inner = preprocessing.region(*picture.shape[:2])
    shown = smoothed(explanation.map)
    floor, top = max(float(np.median(shown)), 0.0), float(shown.max())
    reach = (top - floor) / (2 if explanation.is_anomaly else 1)
    threshold = floor + reach if reach > 0 else np.inf
    image = Image.fromarray(overlay(picture, shown[inner], threshold, floor))
    draw = ImageDraw.Draw(image)
    rows, columns = inner
    down = image.height / (rows.stop - rows.start)
    across = image.width / (columns.stop - columns.start)
    for region in explanation.regions[:_MOST_FRAMES]:
        box = (
            (region.left - columns.start) * across,
            (region.top - rows.start) * down,
            (region.left + region.width - columns.start) * across - 1,
            (region.top + region.height - rows.start) * down - 1,
        )
        left, upper, right, lower = (round(side) for side in box)
        if right <= left or lower <= upper:
            continue  # it lies in what aspect=keep fills up
        draw.rectangle((left - 1, upper - 1, right + 1, lower + 1), outline=_RIM, width=3)
        draw.rectangle((left, upper, right, lower), outline=_FRAME, width=1)
    return np.asarray(image)
