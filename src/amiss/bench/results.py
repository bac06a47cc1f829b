"""Results of cells as JSON lines: one a fit, written whole, one writer at a time; nothing that was measured is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..environment.files import make_folder
from ..environment.outputs import only_writer
from ..errors import DataError, WriteError

#: The file in the folder of a bench.
FILE = "results.jsonl"
#: What makes a result the result of a cell; see `Cell.identity`.
IDENTITY = ("protocol", "data", "case", "options", "method", "settings", "epochs", "labels", "seed")

Record = dict[str, Any]


def key_of(record: Record) -> str:
    """The key of the cell that a record is the result of."""
    return json.dumps({name: record[name] for name in IDENTITY}, sort_keys=True)


def read_results(folder: Path) -> list[Record]:
    """What has been measured so far, in the order of writing; of a cell measured twice, the later result.

    A last line that a killed run left unfinished does not count.

    Raises:
        DataError: any other line that is no result; the message gives its number.
    """
    path = folder / FILE
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")  # behind the last line's end there is nothing
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            records.append((key_of(record), record))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"line {number} of {path} is no result of a cell; remove it to go on") from error
    return list(dict(records).values())


class ResultsFile:
    """The results of a folder while this run alone adds to them; see `adding_results`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, record: Record) -> None:
        """Append a result and see that it is on the disk. Raises `WriteError`."""
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(line)
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(
                f"{self.path} cannot be written: {error.strerror or error}; choose another --work"
            ) from error


@contextmanager
def adding_results(folder: Path) -> Iterator[ResultsFile]:
    """Let this run alone add results to a folder, which is made; what a killed run left of a last line is cut off.

    Raises:
        WriteError: another run is adding to it, or it cannot be written.
    """
    make_folder(folder)
    path = folder / FILE
    with only_writer(path, "--work"):
        if path.exists():
            whole = path.read_bytes()
            end = whole.rfind(b"\n") + 1
            if end < len(whole):
                with path.open("r+b") as file:
                    file.truncate(end)
        yield ResultsFile(path)
