"""Versions of a model file: a newer one takes its place, the older ones stay beside it, and one can go back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..environment.files import atomic_write, make_folder
from ..environment.outputs import only_writer
from ..errors import ModelFileError, UsageError, WriteError
from ..report.table import digest_of

_NAME = re.compile(r"(\d{4,})(-left)?\.amiss")


@dataclass(frozen=True)
class Version:
    """A model file that is kept.

    Attributes:
        number: from 1, in the order in which versions were kept.
        path: where it lies.
        left: whether somebody went back from it; nobody goes back to it.
        digest: SHA-256 of the file.
    """

    number: int
    path: Path
    left: bool
    digest: str


def folder_of(path: Path) -> Path:
    """Where the versions of a model file are kept.

    >>> folder_of(Path("models/part.amiss")).as_posix()
    'models/part.versions'
    """
    return path.with_name(path.name.removesuffix(".amiss") + ".versions")


def versions(path: Path) -> list[Version]:
    """What is kept of a model file, the oldest first; empty where nothing is."""
    folder = folder_of(path)
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    found = [(match, folder / match[0]) for match in map(_NAME.fullmatch, names) if match]
    kept = [Version(int(match[1]), where, match[2] is not None, digest_of(where)) for match, where in found]
    return sorted(kept, key=lambda version: version.number)


def replace(path: Path, save: Callable[[Path], object]) -> Path | None:
    """Write a model in place of the one at `path`, and keep that one, and the new one, among the versions.

    Args:
        path: of the model file; need not exist. The caller is its only writer, see `amiss.environment.outputs`.
        save: writes the model to the path it is given, whole or not at all.

    Returns:
        Where the older model is kept; None where there was none.

    Raises:
        WriteError: something cannot be written; then the older one is in its place.
    """
    if not path.exists():
        save(path)
        return None
    older = _keep(path)
    save(path)
    _keep(path)
    return older.path


def digest(path: Path) -> str:
    """SHA-256 of the present file; empty where there is none."""
    return digest_of(path) if path.is_file() else ""


def earlier(path: Path) -> Version | None:
    """The version that `go_back` would put in place; None where there is none."""
    kept, current = versions(path), digest(path)
    numbers = [version.number for version in kept if version.digest == current]
    before = [
        version
        for version in kept
        if not version.left
        and version.digest != current
        and version.number < max(numbers, default=kept[-1].number + 1 if kept else 1)
    ]
    return before[-1] if before else None


def go_back(path: Path) -> Version:
    """Put the version before the present one in its place. The present one is kept, marked as left.

    Args:
        path: of the model file.

    Raises:
        UsageError: there is no earlier version.
        WriteError: another process writes the file, or it cannot be written; then the present one is in its place.
    """
    with only_writer(path, "model"):
        wanted = earlier(path)
        if wanted is None:
            raise UsageError(
                f"{path.name} has no earlier version to go back to; amiss teach keeps one where it writes over a model"
            )
        content = wanted.path.read_bytes()
        present = _keep(path) if path.is_file() else None
        with atomic_write(path) as file:
            file.write(content)
        if present is not None and not present.left:
            try:
                os.replace(present.path, present.path.with_name(f"{present.path.stem}-left.amiss"))
            except OSError as error:
                raise WriteError(f"{present.path} cannot be marked as left: {error.strerror}") from error
        return wanted


def _keep(path: Path) -> Version:
    """The version that the file at `path` is; copied where it is none yet."""
    present, kept = digest_of(path), versions(path)
    for version in kept:
        if version.digest == present:
            return version
    number = 1 + max((version.number for version in kept), default=0)
    where = folder_of(path) / f"{number:04d}.amiss"
    make_folder(where.parent)
    with atomic_write(where) as file:
        file.write(path.read_bytes())
    if digest_of(where) != present:
        raise ModelFileError(f"{path} was changed while it was copied; try again")
    return Version(number, where, False, present)
