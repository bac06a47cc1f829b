"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import AmissError, WriteError

_LONGEST_NAME = 80


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` only when the block ends without an error.

    Raises:
        WriteError: `path` is a folder, or its folder is missing or not to be written to.
    """
    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and not isinstance(error, AmissError):  # a full disk, for one
            raise _cannot(path, error) from error
        raise


def check_writable(path: Path) -> None:
    """Raises `WriteError` where `path` cannot become a file: it is a folder, or its folder does not exist."""
    try:
        path.parent.stat()
        is_folder = path.is_dir()
    except FileNotFoundError as error:
        reason = f"the folder {path.parent} does not exist; make it first"
        raise WriteError(f"{path} cannot be written: {reason}") from error
    except OSError as error:  # a name that is too long, for one
        raise _cannot(path, error) from error
    if is_folder:
        raise WriteError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise WriteError(f"{path} cannot be written: {path.parent} is no folder; choose another place")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing. Raises `WriteError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, making its folder where that is missing. Raises `WriteError`."""
    try:
        make_folder(path.parent)
    except WriteError as error:
        raise WriteError(f"{path} cannot be written: {error}") from error
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def picture_name(name: str, ending: str = "png") -> str:
    """A file name for the picture of an image, or the film of a video: the end of its path for people, and a digest of
    all of it, because two may end alike. The word `amiss` in it tells it from people's own names: eight digits behind a
    dash may be a date.

    >>> picture_name("parts/new/7.png")
    'parts_new_7.png-0222977a.amiss.png'
    """
    readable = re.sub(r"[^\w.-]+", "_", name)[-_LONGEST_NAME:].strip("_.")
    unique = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{readable}-{unique}.amiss.{ending}"


def is_picture_name(name: str) -> bool:
    """Whether a file has a name that `picture_name` gives, or had one while it was written.

    >>> is_picture_name("parts_new_7.png-0222977a.amiss.mask.png"), is_picture_name("camera-20240131.png")
    (True, False)
    """
    return re.search(r"-[0-9a-f]{8}\.amiss\.(png|mask\.png|mp4|mp4\.partial)$", name) is not None


def _cannot(path: Path, error: OSError) -> WriteError:
    return WriteError(f"{path} cannot be written: {error.strerror or error}; choose another place")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
