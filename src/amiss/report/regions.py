"""Regions for other tools: COCO annotations, and masks as pictures."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Region
from ..environment.files import atomic_write, check_writable

_CATEGORY = {"id": 1, "name": "amiss"}


class CocoFile:
    """COCO annotations of images as they pass; see `coco_file`.

    Each region is an annotation of the category `amiss`: its mask run-length encoded, so `iscrowd` is 1; its peak is
    the `score`. The format: https://cocodataset.org/#format-data.

    Args:
        images, annotations: open and empty; they hold what will be the lists of the file.
    """

    def __init__(self, images: IO[bytes], annotations: IO[bytes]) -> None:
        self._lists = {"images": images, "annotations": annotations}
        self._counts = {"images": 0, "annotations": 0}

    def add(self, name: str, size: tuple[int, int], regions: Sequence[Region]) -> None:
        """Take in the next image, `size` its height and width, with or without regions."""
        height, width = size
        image = self._append("images", {"file_name": name, "width": width, "height": height})
        for region in regions:
            annotation = {
                "image_id": image,
                "category_id": _CATEGORY["id"],
                "bbox": list(region.box),
                "area": region.area,
                "segmentation": region.rle(),
                "iscrowd": 1,
                "score": region.peak,
            }
            self._append("annotations", annotation)

    def write(self, path: Path, description: str) -> None:
        """Write the file, whole or not at all. Raises `WriteError`."""
        head = json.dumps({"info": {"description": description}, "categories": [_CATEGORY]})
        with atomic_write(path) as file:
            file.write(head.removesuffix("}").encode())
            for name, elements in self._lists.items():
                file.write(f', "{name}": ['.encode())
                elements.seek(0)
                shutil.copyfileobj(elements, file)
                file.write(b"\n]")
            file.write(b"}\n")

    def _append(self, name: str, element: dict[str, Any]) -> int:
        """Returns the `id` that the element gets: 1, 2, ..."""
        self._counts[name] += 1
        comma = "," if self._counts[name] > 1 else ""
        self._lists[name].write(f"{comma}\n{json.dumps({'id': self._counts[name], **element})}".encode())
        return self._counts[name]


@contextmanager
def coco_file(path: Path, description: str) -> Iterator[CocoFile]:
    """A `CocoFile` that is written when the block ends without an error; until then it waits outside memory.

    Raises:
        WriteError: `path` is a folder, or its folder is missing or not to be written to.
    """
    check_writable(path)
    with tempfile.TemporaryFile() as images, tempfile.TemporaryFile() as annotations:
        coco = CocoFile(images, annotations)
        yield coco
        coco.write(path, description)


def mask_picture(size: tuple[int, int], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """(height, width) uint8 of an image of that size: 255 in a region, 0 elsewhere."""
    picture = np.zeros(size, dtype=np.uint8)
    for region in regions:
        picture[region.mask()] = 255
    return picture
