"""Result tables: csv, jsonl and parquet, written row by row to a partial file that a broken run can continue."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from . import versions
from .errors import DataError, UsageError
from .model_file import atomic_write
from .scoring import Row

#: Columns of every result table, in this order.
COLUMNS = ("name", "score", "p_value", "is_anomaly", "error")
FORMATS = (".csv", ".jsonl", ".parquet")
_ROWS_AT_ONCE = 10_000


def as_record(row: Row) -> dict[str, Any]:
    """A row as plain values; what does not exist is None."""
    failed = row.error is not None
    return {
        "name": row.item.name,
        "score": None if failed or math.isnan(row.score) else row.score,
        "p_value": None if failed or math.isnan(row.p_value) else row.p_value,
        "is_anomaly": None if failed else row.is_anomaly,
        "error": row.error,
    }


def csv_line(record: dict[str, Any]) -> str:
    """One line of a csv table; a cell that a spreadsheet would run as a formula is kept as text."""
    buffer = io.StringIO()
    cells = [_as_text(record[column]) for column in COLUMNS]
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _as_text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("\r", " ").replace("\n", " ")
    return value


class ResultTable:
    """A result table being written.

    Rows go to `NAME.partial` (one JSON record a line, whatever the format), which becomes the table when all are there;
    a run that broke leaves it, and `resume` goes on behind its last whole row.

    Args:
        path: of the table; its ending chooses the format.
        run: what must be equal for a broken run to be continued (model, inputs).
        resume: continue the partial file, if there is one.

    Raises:
        UsageError: an unknown ending.
        MissingExtraError: parquet without pyarrow.
        DataError: the partial file belongs to another run, or the folder cannot be written.
    """

    def __init__(self, path: Path, run: dict[str, Any], resume: bool = False) -> None:
        if path.suffix not in FORMATS:
            raise UsageError(f"{path} must end in {', '.join(FORMATS)} to say how results are written")
        if path.suffix == ".parquet":
            versions.require("parquet", "writing parquet", "pyarrow")
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self.done = 0
        self._last: str | None = None
        try:
            if resume and self.partial.exists():
                self._continue(run)
            else:
                self.partial.write_text(json.dumps(run) + "\n", encoding="utf-8")
            self._file: IO[str] = self.partial.open("a", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}; choose another place") from error

    def _continue(self, run: dict[str, Any]) -> None:
        with self.partial.open("rb+") as file:
            header = file.readline()
            try:
                same = json.loads(header) == json.loads(json.dumps(run))
            except ValueError:
                same = False
            if not same:
                raise DataError(
                    f"{self.partial} was left by a run with another model or other inputs; delete it or repeat that run"
                )
            end = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break  # cut in the middle of a row: score that image again
                end += len(line)
                self.done += 1
                self._last = json.loads(line)["name"]
            file.truncate(end)

    def check_follows(self, name: str) -> None:
        """Raises `DataError` unless `name` is the image behind which the broken run stopped."""
        if name != self._last:
            raise DataError(
                f"{self.partial} stopped at {self._last}, but the inputs now have {name} there; delete it to start over"
            )

    def write(self, record: dict[str, Any]) -> None:
        """Append one row."""
        self._file.write(json.dumps(record) + "\n")

    def flush(self) -> None:
        """Hand all rows to the system, so that nothing scored so far is lost."""
        self._file.flush()

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows written so far, from the file."""
        self._file.flush()
        with self.partial.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def finish(self) -> None:
        """Turn the partial file into the table."""
        with atomic_write(self.path) as file:
            if self.path.suffix == ".parquet":
                _write_parquet(self.rows(), file)
            else:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
                if self.path.suffix == ".csv":
                    text.write(",".join(COLUMNS) + "\n")
                for record in self.rows():
                    text.write(csv_line(record) if self.path.suffix == ".csv" else json.dumps(record) + "\n")
                text.detach()
        self._file.close()
        self.partial.unlink()

    def close(self) -> None:
        """Stop without finishing; what was written stays for `resume`."""
        self._file.close()


@contextmanager
def result_table(path: Path, run: dict[str, Any], resume: bool = False) -> Iterator[ResultTable]:
    """A `ResultTable` that is finished when the block ends well, and left for `resume` when it does not."""
    table = ResultTable(path, run, resume)
    try:
        yield table
        table.finish()
    finally:
        table.close()


def _write_parquet(records: Iterator[dict[str, Any]], file: Any) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = (pyarrow.string(), pyarrow.float32(), pyarrow.float64(), pyarrow.bool_(), pyarrow.string())
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with parquet.ParquetWriter(file, schema) as writer:
        chunk: list[dict[str, Any]] = []
        for record in records:
            chunk.append(record)
            if len(chunk) == _ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, making its folder where that is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {os.strerror(error.errno or 0)}; choose another place") from error
    with atomic_write(path) as file:
        file.write(text.encode())
