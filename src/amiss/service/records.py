"""Files of records that only grow: a line of JSON each, readable after whatever ended the program that wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import WriteError

Record = dict[str, Any]


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, none where it is missing; lines that are none are passed over.

    It is then ready to grow: half a record at its end, which a program that was killed may leave, is cut off.

    Raises:
        WriteError: it cannot be read and written.
    """
    try:
        with path.open("rb+") as file:
            line = b"\n"
            for line in file:
                record = _parsed(line)
                if isinstance(record, dict):
                    yield record
            if not line.endswith(b"\n"):
                if _parsed(line) is None:
                    file.truncate(file.tell() - len(line))
                else:
                    file.write(b"\n")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}; give another --out") from error


def append_record(path: Path, record: Record) -> None:
    """Add a record at the end of a file, which is made where it is missing.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}; make room, or give another --out") from error


def _parsed(line: bytes) -> Any:
    """What a line of JSON holds; None where it is none."""
    try:
        return json.loads(line)
    except ValueError:
        return None
