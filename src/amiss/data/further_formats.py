"""What Pillow does not read whole, by libraries of the extra `formats`: colour of 16 bits, rare kinds of TIFF, HEIC."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..environment import versions
from ..errors import DataError
from .collection import Pixels

_BITS_PER_SAMPLE, _ORIENTATION, _SAMPLES, _TILE_WIDTH, _TILE_LENGTH = 258, 274, 277, 322, 323
#: Of one pixel of a TIFF, at most: red, green, blue and alpha of 64 bits, or more channels of fewer.
_MOST_BYTES = 32
#: Tiles of so many bytes are common, however small the picture; larger ones are taken in pictures as large.
_LARGEST_TILE = 64 << 20
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Decoded(NamedTuple):
    """A picture as its library gives it: (h, w) or (h, w, c), alpha last where there is one; not turned as its EXIF
    orientation says."""

    pixels: Pixels
    alpha: bool = False
    orientation: int = 1


def is_heic_name(name: str) -> bool:
    """Whether a file of this name is taken for HEIC.

    >>> is_heic_name("IMG_1.HEIC"), is_heic_name("a.jpg")
    (True, False)
    """
    return name.lower().endswith((".heic", ".heif"))


def teach_pillow_heic(name: str) -> None:
    """Let Pillow open HEIC, as the format HEIF. Raises `DataError` that names the file without the extra."""
    _require(name, "is HEIC", "pillow_heif")
    import pillow_heif

    pillow_heif.register_heif_opener()


def is_tiff(stream: IO[bytes]) -> bool:
    """Does the file begin as a TIFF, or BigTIFF?"""
    stream.seek(0)
    return stream.read(4) in _TIFF_STARTS


def is_deep_colour(image: ImageFile) -> bool:
    """Has a picture that Pillow has opened several channels of more than 8 bits, which it would cut to 8?"""
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        return len(bits) > 1 and max(bits) > 8
    if image.format == "JPEG2000" and image.mode not in ("L", "I;16"):
        return _bits_of_jpeg2000(image.fp) > 8
    return image.format == "PNG" and image.mode != "I;16" and any(";16" in str(tile[3]) for tile in image.tile)


def tiles_of(image: TiffImageFile) -> tuple[int, int]:
    """Bytes of a tile of the page at which it stands, 0 where it has none, and of the picture, both unpacked."""
    tags = image.tag_v2
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,))) * tags.get(_SAMPLES, 1)
    tile = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0)
    return tile * bits // 8, image.width * image.height * bits // 8


def check_tiles(tile: int, picture: int, name: str) -> None:
    """Raise `DataError` where a tile (in bytes, unpacked) is far larger than its picture: a small file can claim so."""
    if tile > max(_LARGEST_TILE, 4 * picture):
        raise DataError(
            f"{name} is a TIFF whose tiles take {tile >> 20} MiB each, far more than the picture; save it anew"
        )


def deep_colour(image: ImageFile, name: str) -> Decoded:
    """The page of such a picture at which it stands. Raises `DataError` without the extra."""
    stream: Any = image.fp
    if isinstance(image, TiffImageFile):
        with tiff_pages(stream, name) as pages:
            return tiff_page(pages[image.tell()], name)
    _require(name, "has colours of more than 8 bits", "imagecodecs")
    import imagecodecs

    stream.seek(0)
    decode = imagecodecs.png_decode if image.format == "PNG" else imagecodecs.jpeg2k_decode
    pixels = decode(stream.read())
    return Decoded(pixels, pixels.ndim == 3 and pixels.shape[2] in (2, 4), image.getexif().get(_ORIENTATION, 1))


@contextmanager
def tiff_pages(stream: IO[bytes], name: str) -> Iterator[Any]:
    """The pages of a TIFF as tifffile has them. Raises `DataError` without the extra."""
    _require(name, "is a TIFF that Pillow does not read whole", "tifffile", "imagecodecs")
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        yield file.pages


def are_pictures(pages: Iterable[Any], name: str) -> Iterator[bool]:
    """Of every page that `tiff_pages` gives, whether it is a picture of its own.

    Raises:
        DataError: a page is followed by one before it, as in a damaged file: they would never end.
    """
    passed: set[int] = set()
    for page in pages:
        if page.offset in passed:
            raise DataError(f"{name} is a TIFF whose pages lead in a circle, as in a damaged one; save it anew")
        passed.add(page.offset)
        yield not page.is_reduced and not page.is_mask


def tiff_page(page: Any, name: str) -> Decoded:
    """One of them, decoded. Raises `DataError` where it is neither gray nor RGB, or over 32 bytes a pixel."""
    space = page.photometric.name
    if space not in ("MINISBLACK", "MINISWHITE", "RGB") or page.axes not in ("YX", "YXS", "SYX"):
        raise DataError(
            f"{name} is a TIFF of the colour space {space} and the axes {page.axes}; save it as gray or RGB"
        )
    if page.nbytes > page.imagewidth * page.imagelength * _MOST_BYTES:  # a small file can claim any number of samples
        raise DataError(f"{name} is a TIFF of {page.samplesperpixel} samples a pixel; save it as gray or RGB")
    check_tiles(math.prod(page.chunks) * page.dtype.itemsize if page.is_tiled else 0, page.nbytes, name)
    pixels = page.asarray()
    if page.axes == "SYX":
        pixels = pixels.transpose(1, 2, 0)
    alpha = bool(page.extrasamples) and page.extrasamples[0].name == "UNASSALPHA"
    if pixels.ndim == 3:  # without what is neither colour nor alpha
        pixels = pixels[..., : pixels.shape[2] - len(page.extrasamples) + alpha]
    if space == "MINISWHITE":
        gray = pixels[..., 0] if pixels.ndim == 3 else pixels
        gray[...] = ~gray if gray.dtype.kind == "u" else 1 - gray
    tag = page.tags.get(_ORIENTATION)
    return Decoded(pixels, alpha, 1 if tag is None else int(tag.value))


def _bits_of_jpeg2000(stream: Any) -> int:
    """Of the first component, as the head of the codestream tells (SIZ, ITU-T T.800 A.5.1)."""
    stream.seek(0)
    head = stream.read(1 << 16)
    start = head.find(b"\xff\x4f\xff\x51")
    return (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 8


def _require(name: str, what: str, *libraries: str) -> None:
    if not versions.have(*libraries):
        raise DataError(f"{name} {what}, which takes the extra 'formats'; pip install 'amiss[formats]', or convert it")
