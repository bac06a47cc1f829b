"""Whose an output is: one writer at a time, and what an earlier run left in a folder is not lost unasked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import WriteError
from ..lazy import filelock
from .files import check_writable, is_picture_name, make_folder

#: Width in which the number of the process that writes is kept.
_DIGITS = 12


@contextlib.contextmanager
def only_writer(path: Path, option: str = "--out") -> Iterator[None]:
    """Nobody else who asks here writes to `path` while the block lasts.

    The lock is the operating system's, on a hidden file beside the file, or in the folder: there it holds for all who
    can write there, whoever they are. It ends with its process, however that ends. The hidden file is removed at the
    end; what a killed process leaves of it locks nothing.

    Args:
        path: a file that need not exist, or a folder that does.
        option: of the command line, that named it.

    Raises:
        WriteError: another process, or another part of this one, is writing to it, or nothing can be written there.
    """
    if path.is_dir():
        place = path / ".amiss.lock"
    else:
        check_writable(path)
        place = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(place, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise WriteError(
            f"{path} is being written by another amiss{_process(place)}; wait for it, or give another {option}"
        ) from None
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error
    try:
        _tell_process(place)
        yield
    finally:
        if os.name == "posix":  # still locked: who waits for this file sees that it is gone, and makes another
            place.unlink(missing_ok=True)
        lock.release()


def _tell_process(place: Path) -> None:
    """Behind the first byte, which is what Windows locks."""
    with contextlib.suppress(OSError), place.open("r+b", buffering=0) as file:
        file.seek(1)
        file.write(f"{os.getpid():{_DIGITS}}".encode())


def _process(place: Path) -> str:
    """What an error says of the process that writes; nothing where it has not said so yet."""
    with contextlib.suppress(OSError, ValueError), place.open("rb", buffering=0) as file:
        file.seek(1)
        return f" (process {int(file.read(_DIGITS))})"
    return ""


@contextlib.contextmanager
def run_folder(
    path: Path,
    option: str = "--out",
    *,
    overwrite: bool = False,
    add: bool = False,
    is_ours: Callable[[str], bool] = is_picture_name,
) -> Iterator[list[Path]]:
    """The folder, made where it is missing, for what this run alone writes.

    Args:
        path: the folder.
        option: of the command line, that named it.
        overwrite: what an earlier run left may be removed.
        add: leave it, and add to it.
        is_ours: whether a run gives a file that name.

    Yields:
        What an earlier run left and is to be removed, sorted: for the block to do, once nothing else forbids the run.

    Raises:
        WriteError: it holds what an earlier run left, and neither was asked for; somebody else is writing to it; or it
            cannot be written to.
    """
    make_folder(path)
    with only_writer(path, option):
        earlier = [] if add else sorted(each for each in path.iterdir() if is_ours(each.name))
        if earlier and not overwrite:
            raise WriteError(
                f"{path} holds {len(earlier)} files of an earlier run, or named so, such as {earlier[0].name}; "
                f"give another {option}, or --overwrite to remove them"
            )
        yield earlier
