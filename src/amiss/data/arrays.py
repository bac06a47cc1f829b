"""Images held in arrays: NumPy arrays, `.npy` and `.npz` files, and the IDX format of MNIST."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amiss.data.collection import Collection, Item, Pixels
from amiss.data.decode import check_dtype, check_pixels, picture_pixels
from amiss.errors import DataError

#: Endings of the array files that `load_array_file` reads, in lower case.
ARRAY_ENDINGS = (".npy", ".npz", ".idx", ".idx.gz", "-ubyte", "-ubyte.gz")

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20
_MAX_DEFLATE_RATIO = 1032  # deflate cannot do better: a header that declares more is false
#: No frame of a video has fewer columns; an array whose last axis is shorter has a wrong number of channels.
_NARROWEST = 8


def array_collection(
    array: NDArray[Any],
    title: str,
    *,
    labels: Sequence[bool] | None = None,
    kinds: Sequence[str] | None = None,
) -> Collection:
    """The images of one array, read from it one by one; item `i` is named `title[i]`.

    Args:
        array: (n, h, w) gray, or (n, h, w, c) with c = 1, 3 (RGB) or 4 (RGB and alpha); bool, uint8, uint16, or float
            in [0, 1]. NaN and range are checked when an image is read. (n, t, h, w) and (n, t, h, w, c) are n videos of
            t frames; their frames are named `title[i][j]`.
        title: what the collection is called.
        labels: n times True (anomalous) or False, where known.
        kinds: n class names, where known.

    Raises:
        DataError: another shape or type, or no image in it.

    >>> [item.name for item in array_collection(np.zeros((2, 8, 8), np.uint8), "x")]
    ['x[0]', 'x[1]']
    """
    if _holds_videos(array):
        return _video_collection(array, title, labels, kinds)
    _check_stack(array, title)
    items = [
        Item(
            name := f"{title}[{i}]",
            partial(_read_one, array, i, name),
            kind=None if kinds is None else kinds[i],
            anomalous=None if labels is None else bool(labels[i]),
        )
        for i in range(len(array))
    ]
    return Collection(items, title)


def picture_collection(pictures: Sequence[NDArray[Any] | Image.Image], title: str) -> Collection:
    """Images held in memory one by one, of any sizes; item `i` is named `title[i]`.

    Args:
        pictures: arrays (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), see `amiss.data.decode.check_pixels`, or pictures of
            Pillow's.
        title: what the collection is called.

    >>> picture_collection([Image.new("L", (5, 4))], "x")[0].read().shape
    (4, 5)
    """
    return Collection(
        [Item(name := f"{title}[{i}]", partial(_read_picture, each, name)) for i, each in enumerate(pictures)], title
    )


def _read_picture(picture: NDArray[Any] | Image.Image, name: str) -> Pixels:
    return check_pixels(picture, name) if isinstance(picture, np.ndarray) else picture_pixels(picture, name)


def _holds_videos(array: NDArray[Any]) -> bool:
    """(n, t, h, w, c), or (n, t, h, w) where t cannot be channels, and w is too much for them."""
    return array.ndim == 5 or (array.ndim == 4 and array.shape[3] >= _NARROWEST and array.shape[1] not in (1, 3, 4))


def _video_collection(
    array: NDArray[Any], title: str, labels: Sequence[bool] | None, kinds: Sequence[str] | None
) -> Collection:
    parts = []
    for i in range(len(array)):
        video = f"{title}[{i}]"
        frames = array_collection(array[i], video)
        label, kind = None if labels is None else bool(labels[i]), None if kinds is None else kinds[i]
        parts += [replace(item, anomalous=label, kind=kind, group=video, video=video) for item in frames]
    if not parts:
        _check_stack(array[0] if len(array) else array.reshape(0, 1, 1), title)
    return Collection(parts, title)


def is_array_name(name: str) -> bool:
    """Whether `load_array_file` reads files of this name.

    >>> is_array_name("train-images-idx3-ubyte.gz"), is_array_name("a.png")
    (True, False)
    """
    return name.lower().endswith(ARRAY_ENDINGS)


def load_array_file(path: str | os.PathLike[str]) -> Collection:
    """The images of an array file; see `array_collection` for the shapes.

    - `.npy`: read from the disk one by one (memory-mapped).
    - `.npz`: the array `images`, or the only one; `labels` (n times 0 normal or 1 anomalous) and `kinds` (n names) are
      used where present.
    - `.idx`, `.idx.gz`, `*-ubyte`, `*-ubyte.gz`: IDX, packed or not.

    Pickled objects are never loaded.

    Raises:
        DataError: the file cannot be read, or does not hold images.
    """
    name = os.fspath(path)
    lower = name.lower()
    if not is_array_name(lower):
        raise DataError(f"{name} is not an array file; its name must end in one of {', '.join(ARRAY_ENDINGS)}")
    if not lower.endswith((".npy", ".npz")):
        return array_collection(read_idx(name), name)
    try:
        if lower.endswith(".npy"):
            return array_collection(np.lib.format.open_memmap(name, mode="r"), name)
        with np.load(name, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{name} is not an .npz archive; give it the ending of what it is")
            return _npz_collection({key: archive[key] for key in _npz_keys(archive.files, name)}, name)
    except DataError:
        raise
    except Exception as error:  # zip, zlib and NumPy meet broken files with errors of many classes
        cause = getattr(error, "strerror", None) or error
        raise DataError(f"{name} cannot be read as an array file ({cause}); save it anew without pickles") from error


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file (the format of MNIST), packed with gzip or not, whatever its name.

    Returns:
        An array of the shape in the header; uint8, int8, int16, int32, float32 or float64 in the machine's byte order.

    Raises:
        DataError: the file is missing, is not IDX, is cut, or goes on after its end. No more memory is used than the
            header declares.
    """
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if not packed:
                return _read_idx_stream(stream, size, name)
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _read_idx_stream(unpacked, size * _MAX_DEFLATE_RATIO, name)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise DataError(f"{name} cannot be read as an IDX file ({cause}); check the path, or fetch it again") from error


def _check_stack(array: NDArray[Any], title: str) -> None:
    shape = array.shape
    wanted = "give (n, h, w) for gray or (n, h, w, 3) for RGB images"
    check_dtype(array.dtype, title)
    if array.ndim == 2:
        raise DataError(f"{title} has the shape {shape}, which is one gray image; {wanted}, here x[None]")
    if array.ndim == 3 and shape[2] in (3, 4):
        raise DataError(f"{title} has the shape {shape}, which looks like one colour image; {wanted}, here x[None]")
    if array.ndim == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4):
        raise DataError(f"{title} has the shape {shape} with the channels first; {wanted}, here np.moveaxis(x, 1, -1)")
    if array.ndim not in (3, 4) or (array.ndim == 4 and shape[3] not in (1, 3, 4)):
        raise DataError(f"{title} has the shape {shape}; {wanted}")
    if array.size == 0:
        raise DataError(f"{title} has the shape {shape} and holds no pixels; {wanted}")


def _read_one(array: NDArray[Any], index: int, name: str) -> Pixels:
    return check_pixels(array[index], name)


def _npz_keys(keys: Sequence[str], name: str) -> list[str]:
    """The keys to load: the images first, then labels and kinds where present."""
    images = [key for key in keys if key not in ("labels", "kinds")]
    if "images" in images:
        images = ["images"]
    if len(images) != 1:
        found = ", ".join(keys) or "nothing"
        raise DataError(f"{name} must hold one array, or one called 'images', but holds {found}; save it so")
    return images + [key for key in ("labels", "kinds") if key in keys]


def _npz_collection(arrays: dict[str, NDArray[Any]], name: str) -> Collection:
    images = next(iter(arrays.values()))
    _check_stack(images, name)
    for key in ("labels", "kinds"):
        if key in arrays and arrays[key].shape != (len(images),):
            raise DataError(
                f"{name}: '{key}' has the shape {arrays[key].shape}; give one entry per image, {len(images)}"
            )
    labels, kinds = arrays.get("labels"), arrays.get("kinds")
    if labels is not None and not (labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all()):
        raise DataError(f"{name}: 'labels' may only hold 0 (normal) and 1 (anomalous); change the others")
    if kinds is not None and kinds.dtype.kind == "S":
        kinds = np.char.decode(kinds, "utf-8")
    return array_collection(
        images,
        name,
        labels=None if labels is None else labels.astype(bool).tolist(),
        kinds=None if kinds is None else [str(kind) for kind in kinds.tolist()],
    )


def _read_idx_stream(stream: IO[bytes] | gzip.GzipFile, most: int, name: str) -> NDArray[Any]:
    """Parse IDX from a stream that can hold at most `most` bytes."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise DataError(f"{name} is not an IDX file: it starts with {magic.hex() or 'nothing'}; check what it is")
    dtype, dimensions = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{name} is cut within its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", header)
    declared = math.prod(shape) * dtype.itemsize
    if 4 + len(header) + declared > most:
        raise DataError(
            f"{name} is cut: its header declares {declared} bytes of data, more than it holds; fetch it again"
        )
    data = bytearray()
    while len(data) < declared and (chunk := stream.read(min(_CHUNK, declared - len(data)))):
        data += chunk
    if len(data) < declared:
        raise DataError(f"{name} is cut: {len(data)} of {declared} bytes are there; fetch it again")
    if stream.read(1):
        raise DataError(f"{name} goes on after the {declared} bytes that its header declares; fetch it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
