"""From files, bytes and arrays to pixels: gray (h, w) or RGB (h, w, 3) of uint8, uint16, or float32 in [0, 1]."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from amiss.data.collection import Pixels
from amiss.data.further_formats import (
    Decoded,
    are_pictures,
    check_tiles,
    deep_colour,
    is_deep_colour,
    is_heic_name,
    is_tiff,
    teach_pillow_heic,
    tiff_page,
    tiff_pages,
    tiles_of,
)
from amiss.errors import DataError

#: Endings of the image files that are read, in lower case; they are matched whatever their case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".j2k",
            ".heic", ".heif")  # fmt: skip

# Only these decoders ever see a file: Pillow has others (EPS starts a program) that a scored picture must not reach.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")
#: Of these formats the pictures in one file are pages or frames; of others they are previews of the first.
_PAGED = ("TIFF", "GIF", "WEBP", "AVIF", "PNG")
_ALLOW = "make it smaller, or allow more with --max-pixels (in Python: PIL.Image.MAX_IMAGE_PIXELS)"
#: Pages or frames of one file, at most: the head of an animated PNG may claim any number.
MOST_PICTURES = 100_000
#: The tag of a TIFF's page that tells a smaller copy (1) and a mask (4) from a picture.
_SUBFILE_TYPE, _NO_PICTURE = 254, 0b101


#: The EXIF tag that says how a camera was held.
_ORIENTATION = 0x0112


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image.

    >>> is_image_name("a/B.JPG"), is_image_name("a/b.txt")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


def read_image(path: str | os.PathLike[str]) -> Pixels:
    """Read one image file.

    Gray stays gray; palette, CMYK, YCbCr and LAB pictures become RGB. Transparent pictures are laid over white. The
    EXIF orientation is applied. Pictures of 16 bits keep them, which for colour takes the extra `formats`, as TIFF of
    rare kinds and HEIC do.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16, or float32 in [0, 1]; a fresh, writable array.

    Raises:
        DataError: the file is missing, is no image, is cut, holds several pages or frames (see
            `amiss.data.pages`), is larger than Pillow's limit against decompression bombs
            (`PIL.Image.MAX_IMAGE_PIXELS`), or holds numbers that are not in range.
    """
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as stream:
            return _decode(stream, name)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character, and every DataError
        if isinstance(error, DataError):
            raise
        cause = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name} cannot be opened ({cause}); check the path and the right to read it") from error


def allow_pixels(most: int) -> None:
    """Set the limit against decompression bombs, `PIL.Image.MAX_IMAGE_PIXELS`, for the whole process.

    Pillow's own warning goes: what is larger is refused here.
    """
    Image.MAX_IMAGE_PIXELS = most
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def decode_image(data: bytes, name: str, most_pixels: int | None = None) -> Pixels:
    """Like `read_image`, for the bytes of an image file.

    Args:
        data: the file.
        name: what errors call it.
        most_pixels: a picture of more is refused before it is unpacked; None for Pillow's limit alone.
    """
    return _decode(BytesIO(data), name, most_pixels)


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """(height, width) of an image file as viewers show it, by its head alone; None where it cannot be read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # as in `_decode`: what is wrong is told when it is read
        return None


def picture_pixels(image: Image.Image, name: str) -> Pixels:
    """Like `read_image`, for a picture that Pillow holds; its EXIF orientation is applied, too.

    Raises:
        DataError: it cannot be decoded, or holds numbers that are not in range; `name` is what the error calls it.
    """
    try:
        return _to_pixels(ImageOps.exif_transpose(image), name)
    except DataError:
        raise
    except Exception as error:  # a file that is decoded only now
        raise DataError(f"{name} cannot be decoded ({error}); save it anew") from error


def check_pixels(array: NDArray[Any], name: str) -> Pixels:
    """Bring one image given as an array into the form that `read_image` returns.

    Args:
        array: (h, w), (h, w, 1), (h, w, 3), or (h, w, 4) with alpha, which is laid over white; bool, uint8, uint16, or
            float in [0, 1].
        name: what errors call it.

    Returns:
        (h, w) or (h, w, 3); uint8 (bool becomes 0 and 255), uint16, or float32 in [0, 1]; a fresh, writable array.

    Raises:
        DataError: another shape or type, an empty image, NaN, infinity, or floats outside [0, 1].

    >>> check_pixels(np.array([[True, False]]), "x")
    array([[255,   0]], dtype=uint8)
    """
    check_dtype(array.dtype, name)
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(f"{name} has the shape {shape}; give (h, w) for gray or (h, w, 3) for RGB")
    if array.size == 0:
        raise DataError(f"{name} is empty (shape {shape}); give an image of at least one pixel")
    pixels: Pixels
    if array.dtype.kind == "f":
        _check_range(array, name)
        pixels = np.array(array, dtype=np.float32, order="C")
    elif array.dtype.kind == "b":
        pixels = np.array(array, dtype=np.uint8, order="C") * np.uint8(255)
    else:
        pixels = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return _over_white(pixels) if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


def check_dtype(dtype: np.dtype[Any], name: str) -> None:
    """Raise `DataError` unless images may have this type: bool, uint8, uint16, or a float."""
    if not (dtype.kind in "bf" or (dtype.kind == "u" and dtype.itemsize <= 2)):
        raise DataError(f"{name} has the type {dtype}; convert it to uint8, uint16, or float32 in [0, 1]")


class PictureFile:
    """A file that is open, and the pictures in it: one, or pages of a TIFF, or frames of an animation.

    Args:
        stream: its bytes; not closed with it.
        name: what errors call it.
        most_pixels: a picture of more is refused before it is unpacked; None for Pillow's limit alone.

    Raises:
        DataError: it is no image, or many times larger than the limit.
    """

    def __init__(self, stream: IO[bytes], name: str, most_pixels: int | None = None) -> None:
        self._stream, self._name, self._most = stream, name, most_pixels
        #: None for a TIFF that Pillow does not know, as of floats in colour.
        self._image: ImageFile | None = None
        with self._explained():
            if is_heic_name(name):
                teach_pillow_heic(name)
            try:
                self._image = Image.open(stream, formats=(*_FORMATS, "HEIF") if is_heic_name(name) else _FORMATS)
            except UnidentifiedImageError:
                if not is_tiff(stream):
                    raise

    def numbers(self) -> Sequence[int]:
        """Which pages or frames are pictures of their own, neither smaller copies nor masks of others; at least one.

        Where a file is cut between pages, the first that is missing is among them.

        Raises:
            DataError: there are more than `MOST_PICTURES`.
        """
        found: Sequence[int]
        with self._explained():
            if self._image is None:
                with tiff_pages(self._stream, self._name) as pages:
                    found = self._pictures(are_pictures(pages, self._name))
            elif isinstance(self._image, TiffImageFile):
                found = self._pictures(_pages_of_tiff(self._image))
            else:
                frames = range(getattr(self._image, "n_frames", 1) if self._image.format in _PAGED else 1)
                if len(frames) > MOST_PICTURES:
                    raise self._too_many()
                found = frames
        return found or [0]

    def picture(self, number: int) -> Pixels:
        """One of them, as `read_image` gives it. Forward in an animation is fast; back, it is decoded anew."""
        with self._explained():
            if self._image is None or not self._turn_to(number):
                with tiff_pages(self._stream, self._name) as pages:
                    self._check_size(pages[number].imagewidth, pages[number].imagelength)
                    return _laid(tiff_page(pages[number], self._name), self._name)
            self._check_size(self._image.width, self._image.height)
            if isinstance(self._image, TiffImageFile):
                check_tiles(*tiles_of(self._image), self._name)
            if is_deep_colour(self._image):
                return _laid(deep_colour(self._image, self._name), self._name)
            self._image.load()  # turns a TIFF; of others the orientation is still to be seen to
            turned = self._image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            # without need it would copy the picture, which may be large
            return _to_pixels(self._image if turned else ImageOps.exif_transpose(self._image), self._name)

    def _turn_to(self, number: int) -> bool:
        """Whether Pillow knows the page."""
        assert self._image is not None
        if self._image.format not in _PAGED:
            return True
        try:
            self._image.seek(number)
        except SyntaxError:
            if not isinstance(self._image, TiffImageFile):
                raise
            return False
        return True

    def _pictures(self, pages: Iterable[bool]) -> list[int]:
        """The numbers of the pages that are pictures."""
        found = []
        for number, is_picture in enumerate(pages):
            if number == MOST_PICTURES:
                raise self._too_many()
            if is_picture:
                found.append(number)
        return found

    def _too_many(self) -> DataError:
        return DataError(f"{self._name} holds more than {MOST_PICTURES} pages or frames; split it")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What goes wrong in decoding becomes a `DataError` that names the file."""
        name = self._name
        try:
            yield
        except DataError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            # Pillow was faster than `_check_size`
            raise DataError(f"{name} has more than {self._limit()}") from error
        except UnidentifiedImageError as error:
            formats = ", ".join(_FORMATS)
            raise DataError(f"{name} is not a picture of a known format ({formats}); remove or convert it") from error
        except Exception as error:  # decoders meet hostile bytes with errors of any class
            cause = " ".join(str(error).split()) or type(error).__name__  # some libraries write lines
            raise DataError(f"{name} cannot be decoded ({cause}); remove it or save it anew") from error

    def _limit(self) -> str:
        """The limit that holds, in words, and what to do."""
        general = Image.MAX_IMAGE_PIXELS
        if self._most is not None:  # who may not choose it is told of no option
            most = self._most if general is None else min(self._most, general)
            return f"the {most} pixels that are taken; make it smaller"
        return f"the limit of {general} pixels against decompression bombs; {_ALLOW}"

    def _check_size(self, width: int, height: int) -> None:
        if any(most is not None and width * height > most for most in (self._most, Image.MAX_IMAGE_PIXELS)):
            raise DataError(f"{self._name} has {width}x{height} pixels, more than {self._limit()}")

    def close(self) -> None:
        if self._image is not None:
            self._image.close()


def _pages_of_tiff(image: TiffImageFile) -> Iterator[bool]:
    """Of every page, whether it is a picture of its own."""
    for number in count():
        try:
            image.seek(number)
        except EOFError:
            return
        except SyntaxError:
            pass  # a page of a kind that Pillow does not know; its tags are there all the same
        except Exception:  # cut here: who reads this page is told why
            yield True
            return
        yield not image.tag_v2.get(_SUBFILE_TYPE, 0) & _NO_PICTURE


def _decode(stream: IO[bytes], name: str, most_pixels: int | None = None) -> Pixels:
    with closing(PictureFile(stream, name, most_pixels)) as file:
        numbers = file.numbers()
        if len(numbers) > 1:
            raise DataError(f"{name} holds {len(numbers)} pages or frames, and one picture is wanted; split it")
        return file.picture(numbers[0])


def _laid(decoded: Decoded, name: str) -> Pixels:
    """As gray or RGB, alpha laid over white, and turned."""
    pixels, alpha, orientation = decoded
    pixels = check_pixels(_over_white(pixels) if alpha else pixels, name)
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _to_pixels(image: Image.Image, name: str) -> Pixels:
    mode = image.mode
    if mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if mode == "I":
        numbers = np.array(image)
        if numbers.min() < 0 or numbers.max() > 65535:
            raise DataError(
                f"{name} holds integers from {numbers.min()} to {numbers.max()}; save it with 16 bits (0 to 65535)"
            )
        return numbers.astype(np.uint16)
    if mode == "F":
        return check_pixels(np.array(image), name)
    opaque = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        return _over_white(np.array(image.convert(f"{opaque}A")))
    return np.array(image if image.mode == opaque else image.convert(opaque))


def _over_white(pixels: Pixels) -> Pixels:
    """(h, w, c + 1) with alpha last -> (h, w, c), or (h, w) for one channel; the type is kept."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    laid: Pixels
    if pixels.dtype.kind == "f":
        laid = 1 - alpha * (1 - colour)
    else:
        white = int(np.iinfo(pixels.dtype).max)
        ink = alpha.astype(np.uint32) * (white - colour)
        laid = (white - (ink + white // 2) // white).astype(pixels.dtype)
    return laid[..., 0] if laid.shape[-1] == 1 else laid


def _check_range(array: NDArray[Any], name: str) -> None:
    low, high = float(array.min()), float(array.max())  # NaN and infinity show in either
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name} holds NaN or infinite values; replace them first")
    if low < 0 or high > 1:
        cure = "divide by 255" if low >= 0 and high <= 255 else "rescale them"
        raise DataError(f"{name} holds floats from {low:g} to {high:g}, but they must lie in [0, 1]; {cure}")
