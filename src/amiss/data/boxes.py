"""Objects cut out of images at their bounding boxes: each box of a table is one image of a collection."""

# os.path and strings as in folder.py: names keep the path as given.
# ruff: noqa: PTH113, PTH118

from __future__ import annotations

import math
import os
from functools import partial
from typing import NamedTuple

from amiss.data.collection import Collection, Item, Pixels
from amiss.data.decode import is_image_name, read_image
from amiss.data.folder import Purpose
from amiss.data.labels import NORMAL_KIND, as_number, is_normal_name, read_table
from amiss.errors import DataError, UsageError

#: How many times the width and the height of its box a crop has. The oversize one is from Lee 2021, section 4.5.
CROPS = {"plain": (1.0, 1.0), "oversize": (2.5, 1.5)}

_LABELS = {"true": True, "1": True, "false": False, "0": False, "": None}


class Box(NamedTuple):
    """A rectangle in pixels; (x, y) is its top left corner, (0, 0) that of the image, whose pixels are 1 wide."""

    x: float
    y: float
    width: float
    height: float

    def window(self, height: int, width: int, crop: str = "plain") -> tuple[slice, slice]:
        """The rows and columns of an image of this size that a crop takes.

        The box is enlarged around its centre, its edges go to the nearest border between pixels (the lower right one
        of two), and what lies outside the image is cut off. The paper is silent about the border of the image: cut
        off, because padding would show the detector pixels that no camera saw. A crop at the border is therefore not
        centred on its object, and has another aspect ratio.

        >>> Box(10, 20, 8, 12).window(100, 100, "oversize")
        (slice(17, 35, None), slice(4, 24, None))
        >>> Box(10, 20, 8, 12).window(30, 15)
        (slice(20, 30, None), slice(10, 15, None))
        """
        wide, high = CROPS[crop]
        rows = _between(self.y, self.height, high, height)
        return rows, _between(self.x, self.width, wide, width)


def boxes_collection(
    folder: str | os.PathLike[str], table: str | os.PathLike[str], purpose: Purpose = "score", crop: str = "plain"
) -> Collection:
    """The crops of the images of a folder at the boxes of a table, in the table's order (Lee 2021, 4.1 and 4.5).

    An image is decoded anew for each of its boxes. Boxes are those of the picture as a viewer shows it, after its EXIF
    orientation. A box partly outside the image is cut off; one without any pixel in it (outside, or narrower than
    half a pixel) fails when it is read, as a file would that cannot be decoded.

    Args:
        folder: where the images are.
        table: a CSV file with the columns

            - `file`, the path below the folder, with `/`; `x`, `y`, `width`, `height` in pixels, which need not be
              whole;
            - optionally `kind`; `good`, `normal` and `free` are normal, and where the table has one of them, all other
              kinds are anomalous;
            - optionally `anomalous` (true, false, 1, 0), which goes before what the kind says;
            - optionally `group`, for instance the sequence a frame belongs to; the first that an image has holds for
              all its boxes, and where it has none, the image is the group, so that crops of one image are never divided
              between splits.
        purpose: `fit` and `score` take every box; `eval` asks for a label at least once.
        crop: `plain`, the box, or `oversize`, 2.5 times its width and 1.5 times its height around the same centre.

    Returns:
        Items named `FOLDER/FILE#ROW`; rows of the table count from 0.

    Raises:
        UsageError: another crop.
        DataError: a malformed table, no box in it, a number that is none, a negative size, a missing image (each with
            its line), or, for `eval`, nothing labelled.
    """
    if crop not in CROPS:
        raise UsageError(f"crop is {crop!r}; it must be {' or '.join(CROPS)}")
    root, name = os.fspath(folder), os.fspath(table)
    rows = list(read_table(table, ("file", *Box._fields)))
    if not rows:
        raise DataError(f"{name} lists no boxes; write one a line: file,x,y,width,height")
    kinds_tell = any(is_normal_name(row.get("kind", "")) for _, row in rows)
    prefix = os.path.join(root, "").replace(os.sep, "/")
    there: set[str] = set()
    groups = {row["file"]: row["group"] for _, row in reversed(rows) if row.get("group")}  # one for all its crops
    items = []
    for number, (where, row) in enumerate(rows):
        file = prefix + row["file"].replace("\\", "/").removeprefix("./")
        if file not in there:
            _check_image(file, where)
            there.add(file)
        kind = row.get("kind", "")
        anomalous = _label(row, where)
        if anomalous is None and kind and kinds_tell:
            anomalous = not is_normal_name(kind)
        items.append(
            Item(
                f"{file}#{number}",
                partial(_read_crop, file, _box(row, where), crop, where),
                kind=NORMAL_KIND if is_normal_name(kind) else kind or None,
                anomalous=anomalous,
                group=groups.get(row["file"]) or file,
            )
        )
    if purpose == "eval" and all(item.anomalous is None for item in items):
        raise DataError(f"{name} labels no box, and there is nothing to evaluate on; give it a column 'anomalous'")
    return Collection(items, f"{root}:boxes={name}" + (f":crop={crop}" if crop != "plain" else ""))


def _between(start: float, length: float, factor: float, size: int) -> slice:
    margin = (factor - 1) / 2 * length
    first, last = (math.floor(min(max(edge, 0), size) + 0.5) for edge in (start - margin, start + length + margin))
    return slice(first, last)


def _read_crop(file: str, box: Box, crop: str, where: str) -> Pixels:
    pixels = read_image(file)
    height, width = pixels.shape[:2]
    # The box itself must show something, whatever the crop: else the object is not in the picture.
    if not pixels[box.window(height, width)].size:
        raise DataError(
            f"{where}: the box {', '.join(f'{key} {value:g}' for key, value in box._asdict().items())} has no pixel "
            f"in {file}, which is {width} wide and {height} high; mend or remove the line"
        )
    return pixels[box.window(height, width, crop)].copy()


def _box(row: dict[str, str], where: str) -> Box:
    values = []
    for key in Box._fields:
        value = as_number(row[key])
        if not math.isfinite(value):
            raise DataError(f"{where}: {key} is {row[key]!r}; give a number of pixels")
        values.append(value)
    box = Box(*values)
    if box.width < 0 or box.height < 0:
        raise DataError(f"{where}: the box is {box.width:g} wide and {box.height:g} high; give sizes that are positive")
    return box


def _label(row: dict[str, str], where: str) -> bool | None:
    text = row.get("anomalous", "")
    if text.lower() not in _LABELS:
        raise DataError(f"{where}: anomalous is {text!r}; write true, false, 1 or 0")
    anomalous = _LABELS[text.lower()]
    kind = row.get("kind", "")
    if anomalous and is_normal_name(kind):
        raise DataError(f"{where}: the kind {kind!r} is normal, but anomalous is {text!r}; mend one of them")
    return anomalous


def _check_image(file: str, where: str) -> None:
    if not os.path.isfile(file):
        raise DataError(f"{where}: {file} does not exist; mend its path, which is seen from the folder")
    if not is_image_name(file):
        raise DataError(f"{where}: {file} is not an image file; name one")
