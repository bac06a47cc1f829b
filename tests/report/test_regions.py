"""COCO files hold what the format asks for, and nothing is left where they are not finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amiss.calibration import MapScale, Region, find_regions
from amiss.data.preprocessing import Preprocessing
from amiss.errors import WriteError
from amiss.report.regions import coco_file, mask_picture

SIZE = (30, 50)


def regions(seed: int) -> list[Region]:
    """Of a map with three bright places, one at the border."""
    anomaly_map = np.random.default_rng(seed).random((24, 24)).astype(np.float32)
    anomaly_map[0:5, 0:4] = anomaly_map[10:16, 3:9] = anomaly_map[15:24, 16:22] = 9
    found = find_regions(anomaly_map, MapScale(0.5, 3.0), Preprocessing("gray", 24, 24), SIZE)
    assert len(found) == 3
    return found


def decoded(segmentation: dict[str, Any]) -> NDArray[np.bool_]:
    """Uncompressed run lengths of zeros and ones in turn, down the columns."""
    height, width = segmentation["size"]
    flat = np.zeros(height * width, bool)
    position = 0
    for index, count in enumerate(segmentation["counts"]):
        flat[position : position + count] = index % 2 == 1
        position += count
    assert position == height * width
    return flat.reshape((height, width), order="F")


def test_a_coco_file_holds_images_annotations_and_their_category(tmp_path: Path) -> None:
    wanted = {"parts/a.png": regions(0), "parts/b.png": [], "parts/ü\n.png": regions(1)[:1]}
    with coco_file(tmp_path / "where.json", "Regions") as coco:
        for name, found in wanted.items():
            coco.add(name, SIZE, found)
    written = json.loads((tmp_path / "where.json").read_text(encoding="utf-8"))
    assert set(written) == {"info", "categories", "images", "annotations"}
    assert [set(category) for category in written["categories"]] == [{"id", "name"}]
    images = {image["id"]: image for image in written["images"]}
    assert [image["file_name"] for image in images.values()] == list(wanted)
    assert all((image["height"], image["width"]) == SIZE for image in images.values())
    assert [annotation["id"] for annotation in written["annotations"]] == [1, 2, 3, 4]
    found = [region for each in wanted.values() for region in each]
    for annotation, region in zip(written["annotations"], found, strict=True):
        keys = {"id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd", "score"}
        assert set(annotation) == keys
        assert region in wanted[images[annotation["image_id"]]["file_name"]]
        assert annotation["category_id"] == written["categories"][0]["id"]
        assert (annotation["iscrowd"], annotation["score"]) == (1, region.peak)
        mask = decoded(annotation["segmentation"])
        np.testing.assert_array_equal(mask, region.mask())
        assert annotation["area"] == mask.sum()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["bbox"] == box


def test_a_coco_file_of_nothing_is_whole(tmp_path: Path) -> None:
    with coco_file(tmp_path / "where.json", "Regions"):
        pass
    written = json.loads((tmp_path / "where.json").read_text())
    assert written["images"] == written["annotations"] == []


def test_names_that_are_no_text_are_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"raw\xff.png")
    with coco_file(tmp_path / "where.json", "Regions") as coco:
        coco.add(name, SIZE, [])
    assert json.loads((tmp_path / "where.json").read_text())["images"][0]["file_name"] == name


def test_a_coco_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "where.json"
    path.write_text("older")

    def broken_off() -> None:
        with coco_file(path, "Regions") as coco:
            coco.add("a.png", SIZE, regions(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_coco_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "where.json"):
        with pytest.raises(WriteError, match=path.name), coco_file(path, "Regions"):
            pytest.fail("the block is entered")


def test_a_mask_picture_is_white_in_every_region() -> None:
    found = regions(0)
    picture = mask_picture(SIZE, found)
    assert (picture.dtype, picture.shape) == (np.uint8, SIZE)
    assert set(np.unique(picture)) == {0, 255}
    assert (picture > 0).sum() == sum(region.area for region in found)
    assert not mask_picture(SIZE, []).any()
