from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from amiss.data.decode import SUFFIXES, check_pixels, decode_image, is_image_name, read_image
from amiss.errors import DataError

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.stack([GRAY, GRAY // 2, 255 - GRAY], axis=-1)


def saved(folder: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".PNG"])
def test_formats_without_loss(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    same(read_image(saved(tmp_path, Image.fromarray(RGB), f"x{suffix}", **options)), RGB)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_keeps_gray_gray(tmp_path: Path, suffix: str) -> None:
    found = read_image(saved(tmp_path, Image.fromarray(GRAY), f"x{suffix}", quality=100))
    assert found.shape == GRAY.shape
    assert abs(found.astype(int) - GRAY).max() <= 3


@pytest.mark.parametrize(("suffix", "options"), [(".avif", {"subsampling": "4:4:4"}), (".gif", {})])
def test_formats_with_little_loss(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    found = read_image(saved(tmp_path, Image.fromarray(RGB), f"x{suffix}", **options))
    assert found.shape == RGB.shape
    assert abs(found.astype(int) - RGB).max() <= 8


def test_every_suffix_counts_whatever_its_case() -> None:
    assert all(is_image_name(f"a{suffix.upper()}") for suffix in SUFFIXES)
    assert not is_image_name("a.eps")


def test_result_is_fresh_and_writable(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path, Image.fromarray(RGB))).flags.writeable
    assert check_pixels(GRAY, "x").base is not GRAY


def test_one_bit(tmp_path: Path) -> None:
    bits = GRAY > 100
    same(read_image(saved(tmp_path, Image.fromarray(bits))), bits * np.uint8(255))


def test_gray_with_alpha_is_laid_over_white_and_stays_gray(tmp_path: Path) -> None:
    pixels = np.array([[[0, 255], [0, 0], [100, 128]]], np.uint8)
    same(read_image(saved(tmp_path, Image.fromarray(pixels, "LA"))), np.array([[0, 255, 177]], np.uint8))


def test_rgba_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    same(read_image(saved(tmp_path, Image.fromarray(pixels))), np.array([[[10, 20, 30], [255] * 3]], np.uint8))


def test_gray_rgba_stays_rgb(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path, Image.fromarray(GRAY).convert("RGBA"))).shape == (3, 4, 3)


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 7, 7, 7])
    return image


@pytest.mark.parametrize(
    ("transparency", "last"), [(None, [7, 7, 7]), (2, [255, 255, 255]), (b"\xff\xff\x00", [255, 255, 255])]
)
def test_palette(tmp_path: Path, transparency: int | bytes | None, last: list[int]) -> None:
    options = {} if transparency is None else {"transparency": transparency}
    expected = np.array([[[255, 0, 0], [0, 255, 0], last]], np.uint8)
    same(read_image(saved(tmp_path, palette_image(), **options)), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_colour_key_is_transparent(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), 50 if mode == "L" else (50, 50, 50))
    found = read_image(saved(tmp_path, image, transparency=50 if mode == "L" else (50, 50, 50)))
    assert found.reshape(2, -1)[:, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "LAB":
        image = Image.fromarray(np.full((2, 2, 3), (128, 0, 0), np.uint8), "LAB")  # a* and b* are stored signed
        expected = 119
    else:
        image = Image.new("RGB", (2, 2), (119, 119, 119)).convert(mode)
        expected = 119
    found = read_image(saved(tmp_path, image, "x.tif"))
    assert found.shape == (2, 2, 3)
    assert abs(found.astype(int) - expected).max() <= 2


def test_modes_that_no_file_has_are_understood() -> None:
    from amiss.data.decode import _to_pixels

    laid = _to_pixels(palette_image().convert("PA"), "x")
    same(laid, np.array([[[255, 0, 0], [0, 255, 0], [7, 7, 7]]], np.uint8))
    same(
        _to_pixels(Image.fromarray(RGB).convert("HSV").convert("RGB"), "x"),
        _to_pixels(Image.fromarray(RGB).convert("HSV"), "x"),
    )


@pytest.mark.parametrize(("suffix", "order"), [(".png", "<"), (".tif", "<"), (".tif", ">")])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str, order: str) -> None:
    deep = GRAY.astype(np.uint16) * 257
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (4, 3), deep.astype(f"{order}u2").tobytes())
    same(read_image(saved(tmp_path, image, f"x{suffix}")), deep)


def test_32_bit_integers_must_fit_16_bits(tmp_path: Path) -> None:
    same(
        read_image(saved(tmp_path, Image.fromarray(np.array([[0, 65535]], np.int32)), "x.tif")),
        np.array([[0, 65535]], np.uint16),
    )
    for wrong in (-1, 65536):
        with pytest.raises(DataError, match="16 bits"):
            read_image(saved(tmp_path, Image.fromarray(np.array([[0, wrong]], np.int32)), "x.tif"))


def test_floats_must_lie_in_the_unit_interval(tmp_path: Path) -> None:
    good = np.array([[0, 0.25, 1]], np.float32)
    same(read_image(saved(tmp_path, Image.fromarray(good), "x.tif")), good)
    for wrong, cause in ((np.nan, "NaN"), (np.inf, "infinite"), (255, "divide by 255"), (-0.1, "rescale")):
        path = saved(tmp_path, Image.fromarray(np.array([[0, wrong]], np.float32)), "x.tif")
        with pytest.raises(DataError, match=cause):
            read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 250  # marks the top left corner
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(undo[orientation])), f"x{suffix}", exif=exif)
    found = read_image(path)
    gray = found if found.ndim == 2 else found[..., 0]
    assert gray.shape == upright.shape
    assert abs(gray.astype(int) - upright).max() < 30


def test_16_bit_picture_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = GRAY.astype(np.uint16) * 257
    same(read_image(saved(tmp_path, Image.fromarray(deep), exif=exif)), np.rot90(deep, -1))


def test_cut_foreign_and_missing_files_name_the_file(tmp_path: Path) -> None:
    whole = saved(tmp_path, Image.fromarray(np.tile(RGB, (50, 50, 1)))).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(GRAY).save(tmp_path / "pcx.png", format="PCX")
    (tmp_path / "folder.png").mkdir()
    for name in ("cut.png", "text.png", "empty.png", "pcx.png", "folder.png", "missing.png", "a\0b.png"):
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("limit", [5, 11])
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    path = saved(tmp_path, Image.fromarray(GRAY))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"x\.png.*bomb.*--max-pixels"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_pillow_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(GRAY))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)
    with pytest.raises(DataError, match="4x3 pixels"):
        read_image(path)


@pytest.mark.parametrize("most", [5, 11])
def test_who_is_given_a_limit_is_told_of_no_option(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.fromarray(GRAY).save(stream, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(DataError, match=rf"more than the {most} pixels that are taken; make it smaller$"):
        decode_image(stream.getvalue(), "x.png", most)


def encoded(format_name: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, format_name)
    return stream.getvalue()


SEEDS = [encoded(name) for name in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")]


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF"]))
def test_random_bytes_raise_only_data_error(data: bytes, magic: bytes) -> None:
    with contextlib.suppress(DataError):
        decode_image(magic + data, "x.png")


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(SEEDS), st.integers(0, 500), st.binary(min_size=1, max_size=8), st.booleans())
def test_damaged_pictures_raise_only_data_error(seed: bytes, at: int, noise: bytes, cut: bool) -> None:
    at %= len(seed)
    damaged = seed[:at] + noise + (b"" if cut else seed[at + len(noise) :])
    with contextlib.suppress(DataError):
        assert decode_image(damaged, "x.png").ndim in (2, 3)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GRAY, GRAY),
        (GRAY[..., None], GRAY),
        (RGB, RGB),
        (GRAY > 100, (GRAY > 100) * np.uint8(255)),
        (GRAY.astype(">u2"), GRAY.astype(np.uint16)),
        (np.array([[0.5]], np.float64), np.array([[0.5]], np.float32)),
        (np.array([[0.5]], np.float16), np.array([[0.5]], np.float32)),
        (np.array([[[0, 0, 0, 0.25]]]), np.full((1, 1, 3), 0.75, np.float32)),
        (np.array([[[0, 0, 0, 0]]], np.uint16), np.full((1, 1, 3), 65535, np.uint16)),
        (np.array([[[0, 65535, 0, 65535]]], np.uint16), np.array([[[0, 65535, 0]]], np.uint16)),
        (np.array([[[False, True, False, True]]]), np.array([[[0, 255, 0]]], np.uint8)),
    ],
)
def test_check_pixels_accepts(array: np.ndarray, expected: np.ndarray) -> None:
    same(check_pixels(array, "x"), expected)


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.array([[np.nan]]), "x holds NaN"),
        (np.array([[-np.inf]]), "infinite"),
        (np.array([[0.0, 200.0]]), "divide by 255"),
        (np.array([[-1.0, 1.0]]), "rescale"),
        (GRAY.astype(np.int64), "convert it to uint8"),
        (GRAY.astype(np.uint32), "convert it to uint8"),
        (GRAY.astype(complex), "convert it to uint8"),
        (GRAY.astype(object), "convert it to uint8"),
        (np.zeros((2, 2, 2), np.uint8), "2x2x2"),
        (np.zeros((2, 2, 5), np.uint8), "2x2x5"),
        (np.zeros(3, np.uint8), "shape 3"),
        (np.zeros((1, 2, 2, 3), np.uint8), "1x2x2x3"),
        (np.zeros((0, 4), np.uint8), "empty"),
    ],
)
def test_check_pixels_refuses(array: np.ndarray, cause: str) -> None:
    with pytest.raises(DataError, match=cause):
        check_pixels(array, "x")


@given(st.integers(0, 255), st.integers(0, 255))
def test_laying_over_white_is_exact(colour: int, alpha: int) -> None:
    found = check_pixels(np.array([[[colour, 0, 0, alpha]]], np.uint8), "x")[0, 0, 0]
    exact = (colour * alpha + 255 * (255 - alpha)) / 255
    assert abs(found - exact) <= 0.5
