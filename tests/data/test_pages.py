"""Every page of a TIFF, and every frame of an animation, is an image of its own."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data import decode, open_images
from amiss.data.decode import read_image
from amiss.data.preprocessing import Preprocessing
from amiss.data.stack import load_stack
from amiss.errors import DataError

PAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 20, 3), dtype=np.uint8)


def written(path: Path, pages: np.ndarray = PAGES, **options: object) -> Path:
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_pages_of_a_tiff(depth: type, tmp_path: Path) -> None:
    pages = (PAGES[..., 0] if depth is np.uint8 else PAGES[..., 0].astype(np.uint16) * 257).astype(depth)
    path = written(tmp_path / "stack.tif", pages)
    collection = open_images(path)
    assert [item.name for item in collection] == [f"{path.as_posix()}[{number}]" for number in range(5)]
    assert {(item.group, item.video) for item in collection} == {(None, None)}
    assert collection.notes == ("1 file holds several pages or frames, 5 in all; each is an image, named FILE[number]",)
    for order in (range(5), (3, 0, 4, 4, 1)):
        for number in order:
            np.testing.assert_array_equal(collection[number].read(), pages[number])


def test_pages_of_colour_with_16_bits(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pages = PAGES.astype(np.uint16) * 257 - 3
    tifffile.imwrite(tmp_path / "x.ome.tif", pages, photometric="rgb")
    found = [item.read() for item in open_images(tmp_path)]
    np.testing.assert_array_equal(found, pages)


@pytest.mark.parametrize("ending", ["gif", "webp", "avif"])
def test_frames_of_animations_are_videos(ending: str, tmp_path: Path) -> None:
    shades = np.repeat(np.arange(20, 220, 40, dtype=np.uint8), 16 * 20 * 3).reshape(PAGES.shape)
    path = written(tmp_path / f"x.{ending}", shades)
    collection = open_images(tmp_path)
    assert {(item.group, item.video) for item in collection} == {(path.as_posix(),) * 2}
    assert collection.of_video
    for number in (0, 1, 2, 3, 4, 1):
        assert abs(collection[number].read().astype(int) - shades[number].reshape(16, 20, -1)).max() <= 6
    with pytest.raises(DataError, match=r"holds 5 pages or frames, and one picture is wanted"):
        read_image(path)


def test_among_other_files_pages_keep_their_place_and_their_label(tmp_path: Path) -> None:
    for kind in ("good", "bad"):
        (tmp_path / kind).mkdir()
        Image.fromarray(PAGES[0]).save(tmp_path / kind / "1.png")
        written(tmp_path / kind / "2.tif", PAGES[:2])
        Image.fromarray(PAGES[0]).save(tmp_path / kind / "3.tif")
    collection = open_images(tmp_path, "eval")
    names = [item.name.removeprefix(tmp_path.as_posix()) for item in collection]
    below = ["1.png", "2.tif[0]", "2.tif[1]", "3.tif"]
    assert names == [f"/{kind}/{name}" for kind in ("bad", "good") for name in below]
    assert collection.labels().tolist() == [True] * 4 + [False] * 4
    assert [item.group is not None for item in collection] == [False, True, True, False] * 2
    assert collection.notes[-1].startswith("2 files hold several pages or frames, 4 in all")
    assert len(open_images(f"{tmp_path}/*/2.tif")) == 4


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        for page, kind in ((PAGES[0], 0), (PAGES[0, ::2, ::2], 1), (PAGES[1], 0), (PAGES[1, ..., 0] > 9, 4)):
            file.write(page, subfiletype=kind, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    collection = open_images(tmp_path / "pyramid.tif")
    assert [item.name[-3:] for item in collection] == ["[0]", "[2]"]
    np.testing.assert_array_equal([item.read() for item in collection], PAGES[:2])
    with tifffile.TiffWriter(tmp_path / "one.tif") as file:
        file.write(PAGES[0], photometric="rgb")
        file.write(PAGES[0, ::2, ::2], subfiletype=1, photometric="rgb")
    (item,) = open_images(tmp_path / "one.tif")
    np.testing.assert_array_equal(item.read(), PAGES[0])


def test_previews_in_photographs_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(PAGES[0]).save(path, "MPO", save_all=True, append_images=[Image.fromarray(PAGES[1])])
    (item,) = open_images(path)
    assert item.read().shape == (16, 20, 3)


def test_an_animated_png_is_not_passed_off_as_one_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png holds 5 pages or frames"):
        open_images(written(tmp_path / "x.png"))[0].read()


def test_a_number_of_frames_that_cannot_be_is_refused_and_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "x.png")
    head, _, rest = path.read_bytes().partition(b"acTL" + struct.pack(">I", 5))
    chunk = b"acTL" + struct.pack(">I", 3_000_000) + rest[:4]
    path.write_bytes(head + chunk + struct.pack(">I", zlib.crc32(chunk)) + rest[8:])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"x\.png holds more than 100000 pages or frames; split it"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["x.tif", "floats.tif", "x.gif"])
def test_more_pages_than_the_limit_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if name == "floats.tif":  # which Pillow does not know
        tifffile = pytest.importorskip("tifffile")
        pytest.importorskip("imagecodecs")
        tifffile.imwrite(path, (PAGES / 255).astype(np.float32), photometric="rgb")
    else:
        written(path)
    monkeypatch.setattr(decode, "MOST_PICTURES", 5)
    assert len(open_images(path)) == 5
    monkeypatch.setattr(decode, "MOST_PICTURES", 4)
    (item,) = open_images(path)
    with pytest.raises(DataError, match=rf"{name} holds more than 4 pages or frames"):
        item.read()


def test_an_animation_has_lines_of_its_own_in_events(tmp_path: Path) -> None:
    written(tmp_path / "a.gif")
    written(tmp_path / "b.gif")
    (tmp_path / "events.csv").write_text("video,start,end\na.gif,3,4\n")
    found = [item.name.rpartition("/")[2] for item in open_images(tmp_path, "eval") if item.anomalous]
    assert found == ["a.gif[3]", "a.gif[4]"]


def test_one_animation_among_photographs_makes_no_video_of_them(tmp_path: Path) -> None:
    written(tmp_path / "a.gif")
    collection = open_images(tmp_path)
    assert collection.of_video
    Image.fromarray(PAGES[0]).save(tmp_path / "b.png")
    collection = open_images(tmp_path)
    assert not collection.of_video
    assert collection.begins_with_video


def test_a_cut_file_loses_only_its_last_pages(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tif")
    collection = open_images(path)
    path.write_bytes(path.read_bytes()[:-1500])
    stack = load_stack(collection, Preprocessing("rgb", 16, 20))
    assert 0 < len(stack.items) < 5
    assert all(name.startswith(f"{path.as_posix()}[") and "x.tif" in why for name, why in stack.unreadable)
    path.unlink()
    with pytest.raises(DataError, match=r"x\.tif cannot be opened"):
        collection[0].read()


def test_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    collection = open_images(written(tmp_path / "x.tif"))
    order = np.random.default_rng(0).integers(0, 5, 60).tolist()
    with ThreadPoolExecutor(8) as pool:
        for number, found in zip(order, pool.map(lambda number: collection[number].read(), order), strict=True):
            np.testing.assert_array_equal(found, PAGES[number])


def test_of_several_files_the_pages_of_each_belong_together(tmp_path: Path) -> None:
    paths = [written(tmp_path / name) for name in ("a.tif", "b.tif")]
    assert [item.group for item in open_images(paths)] == [path.as_posix() for path in paths for _ in range(5)]
