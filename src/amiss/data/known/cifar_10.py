"""CIFAR-10: things and animals, 32x32 RGB; 50,000 to train, 10,000 to test.

Read from the official binary version, packed or unpacked, or else from a lossy JPEG copy, which says so in its title.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from amiss.data.arrays import array_collection
from amiss.data.collection import Collection, Item
from amiss.data.decode import decode_image
from amiss.data.folder import natural_key
from amiss.data.known.base import Download, KnownSet
from amiss.data.locate import find
from amiss.errors import DataError

_ARCHIVE = "cifar-10-binary.tar.gz"
_UNPACKED = "cifar-10-batches-bin"
_JPEG_COPY = "cifar-10-jpeg.tar.xz"
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue plane
_MOST_BYTES = 10_000 * _RECORD  # of one batch; a JPEG is far smaller


class CIFAR10(KnownSet):
    """Krizhevsky, Learning multiple layers of features from tiny images, 2009."""

    title = "CIFAR-10"
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    licence = "free to use with citation; Alex Krizhevsky"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    folders = ("cifar-10", "")
    files = (_ARCHIVE,)
    downloads = (
        Download(
            _ARCHIVE, "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", md5="c32a1d4ab5d03f1284b67883e8d87530"
        ),
    )

    def locate(self) -> Path | None:
        for name in (_UNPACKED, _ARCHIVE, _JPEG_COPY):
            folder = find(self.folders, (name,))
            if folder is not None:
                return folder / name
        return None

    def read(self, location: Path, split: str) -> Collection:
        if location.name == _JPEG_COPY:
            return self._read_jpeg_copy(location, split)
        batches = _read_folder(location, split) if location.is_dir() else _read_archive(location, split)
        missing = [name for name in _BATCHES[split] if name not in batches]
        if missing:
            raise DataError(f"{location} lacks {', '.join(missing)}; fetch it again")
        data = b"".join(batches[name] for name in _BATCHES[split])
        if not data or len(data) % _RECORD:
            raise DataError(f"{location} is cut: {len(data)} bytes are no whole number of images; fetch it again")
        records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
        if records[:, 0].max() >= len(self.classes):
            raise DataError(f"{location} is not CIFAR-10: it holds the label {records[:, 0].max()}; fetch it again")
        images = np.moveaxis(records[:, 1:].reshape(-1, 3, 32, 32), 1, -1)
        kinds = [self.classes[label] for label in records[:, 0].tolist()]
        return array_collection(images, f"{self.name}:{split}", kinds=kinds)

    def _read_jpeg_copy(self, path: Path, split: str) -> Collection:
        members = _read_members(path, lambda name: PurePosixPath(name).match(f"{split}/*/*.jpg"))
        if not members:
            raise DataError(f"{path} holds no images of {split} (cifar10/{split}/CLASS/*.jpg); fetch it again")
        kinds = {name: PurePosixPath(name).parent.name for name in sorted(members, key=natural_key)}
        if not set(kinds.values()) <= set(self.classes):
            raise DataError(f"{path} is not CIFAR-10: its folders are not the ten classes; fetch it again")
        items = [Item(name, partial(decode_image, members[name], name), kind=kind) for name, kind in kinds.items()]
        note = "cifar-10 (JPEG copy): a lossy copy; figures are not comparable with those of the original"
        return Collection(items, f"{self.name} (JPEG copy):{split}", (note,))


def _read_folder(folder: Path, split: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in _BATCHES[split] if (folder / name).is_file()}


def _read_archive(path: Path, split: str) -> dict[str, bytes]:
    members = _read_members(path, lambda name: PurePosixPath(name).name in _BATCHES[split])
    return {PurePosixPath(name).name: data for name, data in members.items()}


def _read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The wanted files of a packed archive by name; nothing is written to the disk."""
    import lzma  # some builds of Python lack it

    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not (member.isfile() and wanted(member.name)):
                    continue
                stream = archive.extractfile(member)
                if stream is None or member.size > _MOST_BYTES:
                    raise DataError(f"{path} holds {member.name} of {member.size} bytes; fetch the archive again")
                members[member.name] = stream.read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be unpacked ({error}); fetch it again") from error
    return members
