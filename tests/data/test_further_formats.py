"""Pictures that take the extra `formats`: their values are those that were written, and without it they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from amiss.data.decode import read_image
from amiss.environment import versions
from amiss.errors import DataError

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (9, 12, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 65536, (9, 12, 1), dtype=np.uint16)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 65535
    return np.rint(colour * share + 65535 * (1 - share))


def tiff(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **{"photometric": "rgb", **options})
    return path


def test_colour_of_16_bits_is_kept(tmp_path: Path) -> None:
    files = [
        tiff(tmp_path / "plain.tif", DEEP),
        tiff(tmp_path / "packed.tif", DEEP, compression="zlib", predictor=True),
        tiff(tmp_path / "big.tif", DEEP, bigtiff=True),
        tiff(tmp_path / "order.tif", DEEP, byteorder=">"),
        tiff(tmp_path / "planes.tif", np.moveaxis(DEEP, 2, 0), planarconfig="separate"),
        tiff(tmp_path / "tiles.tif", DEEP, tile=(16, 16)),
        tmp_path / "x.png",
        tmp_path / "x.jp2",
    ]
    files[-2].write_bytes(imagecodecs.png_encode(DEEP))
    files[-1].write_bytes(imagecodecs.jpeg2k_encode(DEEP, level=0, reversible=True))
    for path in files:
        found = read_image(path)
        assert found.dtype == np.uint16, path.name
        np.testing.assert_array_equal(found, DEEP, path.name)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["tif", "png"])
def test_alpha_of_16_bits_is_laid_over_white(channels: int, ending: str, tmp_path: Path) -> None:
    colour = DEEP[..., :channels]
    both = np.concatenate([colour, ALPHA], axis=2)
    path = tmp_path / f"x.{ending}"
    if ending == "tif":
        tiff(path, both, photometric="rgb" if channels == 3 else "minisblack", extrasamples=["unassalpha"])
    else:
        path.write_bytes(imagecodecs.png_encode(both))
    found = read_image(path)
    assert found.ndim == (3 if channels == 3 else 2)
    assert abs(found.reshape(9, 12, -1) - over_white(colour, ALPHA)).max() <= 1


def test_rare_kinds_of_tiff(tmp_path: Path) -> None:
    floats = (DEEP / 65535).astype(np.float32)
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "f.tif", floats)), floats)
    inverted = np.concatenate([65535 - DEEP[..., :1], np.full_like(ALPHA, 65535)], axis=2)
    path = tiff(tmp_path / "w.tif", inverted, photometric="miniswhite", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(path), DEEP[..., 0])
    eight = (DEEP >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tiff(tmp_path / "z.tif", eight, compression="zstd")), eight)
    with pytest.raises(DataError, match=r"x\.tif.*floats from"):
        read_image(tiff(tmp_path / "x.tif", floats * 300))
    with pytest.raises(DataError, match=r"x\.tif.*SEPARATED"):
        read_image(tiff(tmp_path / "x.tif", np.zeros((8, 9, 4), np.uint16), photometric="separated"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_pillow(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    eight = Image.fromarray((DEEP >> 8).astype(np.uint8))
    eight.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    path = tiff(tmp_path / "x.tif", DEEP, extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(read_image(path) >> 8, expected)


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    Image.fromarray(smooth).save(tmp_path / "IMG_1.HEIC", quality=95)
    found = read_image(tmp_path / "IMG_1.HEIC")
    assert abs(found.astype(int) - smooth).max() < 12


def test_a_limit_holds_for_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep, rare = tiff(tmp_path / "deep.tif", DEEP), tiff(tmp_path / "rare.tif", DEEP.astype(np.float32) / 65535)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 107)
    for path in (deep, rare):
        with pytest.raises(DataError, match=rf"{path.name}.*limit of 107.*--max-pixels"):
            read_image(path)


def test_samples_that_a_small_file_claims_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"}
    path = tiff(tmp_path / "x.tif", np.zeros((9, 12, 2000), np.uint16), **options)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_: pytest.fail("was unpacked"))
    with pytest.raises(DataError, match=r"x\.tif is a TIFF of 2000 samples a pixel; save it as gray or RGB"):
        read_image(path)


def test_without_the_extra_nothing_is_cut_to_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiff(tmp_path / "a.tif", DEEP)
    tiff(tmp_path / "b.tif", (DEEP / 65535).astype(np.float32))
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(DEEP))
    (tmp_path / "d.jp2").write_bytes(imagecodecs.jpeg2k_encode(DEEP, level=0))
    (tmp_path / "e.heic").write_bytes(b"")
    monkeypatch.setattr(versions, "have", lambda *_: False)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=rf"{path.name}.*pip install 'amiss\[formats\]'"):
            read_image(path)
    gray = DEEP[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), gray)


def test_pages_in_a_circle_are_refused(tmp_path: Path) -> None:
    """Floats in colour, which Pillow does not know: what follows the page is the page itself."""
    path = tiff(tmp_path / "x.tif", DEEP.astype(np.float32) / 65535)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].offset
        behind = first + 2 + 12 * len(file.pages[0].tags)
    content[behind : behind + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tif is a TIFF whose pages lead in a circle"):
        read_image(path)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("side", [16384, 65520])
def test_tiles_far_larger_than_their_picture_are_refused(side: int, photometric: str, tmp_path: Path) -> None:
    """A file of a few hundred bytes whose tiles claim gigabytes; colour goes to tifffile, gray to Pillow."""
    pixels = DEEP if photometric == "rgb" else DEEP[..., 0]
    path = tiff(tmp_path / "x.tif", pixels, tile=(16, 16), compression="zlib", photometric=photometric)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        places = [file.pages[0].tags[name].valueoffset for name in ("TileWidth", "TileLength")]
    for place in places:
        content[place : place + 4] = side.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tif is a TIFF whose tiles take \d+ MiB each"):
        read_image(path)
