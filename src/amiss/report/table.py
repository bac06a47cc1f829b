"""Result tables: csv, jsonl and parquet, written row by row to a partial file that a broken run can continue."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ..data import Item
from ..environment import versions
from ..environment.files import atomic_write, check_writable
from ..errors import DataError, UsageError, WriteError
from ..model.scoring import Row

#: Columns of every result table, in this order.
COLUMNS = ("name", "score", "p_value", "is_anomaly", "error")
FORMATS = (".csv", ".jsonl", ".parquet")
_ROWS_AT_ONCE = 10_000
#: What makes a spreadsheet run a cell.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, by which a run knows its model again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_record(row: Row) -> dict[str, Any]:
    """A row as plain values; what does not exist is None."""
    failed = row.error is not None
    return {
        "name": row.item.name,
        "score": None if failed or math.isnan(row.score) else float(f"{row.score:.9g}"),  # all that float32 holds
        "p_value": None if failed or math.isnan(row.p_value) else row.p_value,
        "is_anomaly": None if failed else row.is_anomaly,
        "error": row.error,
    }


def as_row(item: Item, record: dict[str, Any]) -> Row:
    """A row from its record; the map and the digest are not kept."""
    score, p_value = (math.nan if record[key] is None else record[key] for key in ("score", "p_value"))
    return Row(item, score, p_value, bool(record["is_anomaly"]), error=record["error"])


def csv_line(record: dict[str, Any]) -> str:
    """One line of a csv table; a cell that a spreadsheet would run as a formula is kept as text."""
    buffer = io.StringIO(newline="")
    cells = [_as_text(record[column]) for column in COLUMNS]
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)  # so that either character in a cell is quoted
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _as_text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        value = _encodable(value)
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return value


def _encodable(text: str) -> str:
    """The text with bytes of file names that are no UTF-8 written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class ResultTable:
    """A result table being written.

    Rows go to `NAME.partial` (one JSON record a line, whatever the format), which becomes the table when all are there;
    a run that broke leaves it, and `resume` goes on behind its last whole row.

    Args:
        path: of the table; its ending chooses the format.
        run: what must be equal for a broken run to be continued (model, inputs, rate), by what each is called.
        resume: continue the partial file, if there is one.
        regions: each record has a list of regions too; in .jsonl alone.

    Raises:
        UsageError: an unknown ending, or one that cannot hold regions.
        MissingExtraError: parquet without pyarrow.
        DataError: the partial file belongs to another run.
        WriteError: the folder is missing or cannot be written to.
    """

    def __init__(self, path: Path, run: dict[str, Any], resume: bool = False, regions: bool = False) -> None:
        self._format = path.suffix.lower()
        if self._format not in FORMATS:
            raise UsageError(f"{path} must end in {', '.join(FORMATS)} to say how results are written")
        if regions and self._format != ".jsonl":
            raise UsageError(f"{path} holds one value a cell, and regions are lists; end it in .jsonl, or use --coco")
        if self._format == ".parquet":
            versions.require("parquet", "writing parquet", "pyarrow")
        check_writable(path)
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self._keys = {*COLUMNS, "regions"} if regions else {*COLUMNS}
        self.done = 0
        self._last: str | None = None
        try:
            if resume and self.partial.exists():
                self._continue(run)
            else:
                self.partial.write_text(json.dumps(run) + "\n", encoding="utf-8")
            self._file: IO[str] = self.partial.open("a", encoding="utf-8")
        except OSError as error:
            raise WriteError(f"{path} cannot be written: {error.strerror}; choose another place") from error

    def _continue(self, run: dict[str, Any]) -> None:
        with self.partial.open("rb+") as file:
            header = file.readline()
            earlier = _parsed(header) if header.endswith(b"\n") else None
            told, run = earlier if isinstance(earlier, dict) else {}, json.loads(json.dumps(run))
            if earlier != run:
                changed = ", ".join(name for name in {**told, **run} if told.get(name) != run.get(name))
                raise DataError(
                    f"{self.partial} was left by a run that differs in its {changed}; delete it or repeat that run"
                )
            end = file.tell()
            for line in file:
                record = _parsed(line)
                if not line.endswith(b"\n") or not isinstance(record, dict) or set(record) != self._keys:
                    break  # cut or damaged here: score from this image on again
                end += len(line)
                self.done += 1
                self._last = record["name"]
            file.truncate(end)

    def check_follows(self, name: str) -> None:
        """Raises `DataError` unless `name` is the image behind which the broken run stopped."""
        if name != self._last:
            raise DataError(
                f"{self.partial} stopped at {self._last}, but the inputs now have {name} there; delete it to start over"
            )

    def write(self, record: dict[str, Any]) -> None:
        """Append one row."""
        try:
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._full(error) from error

    def flush(self) -> None:
        """Hand all rows to the system, so that nothing scored so far is lost."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> WriteError:
        return WriteError(f"{self.path} cannot be written: {error.strerror}; make room and go on with resume")

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows written so far, from the file."""
        self.flush()
        with self.partial.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def finish(self) -> None:
        """Turn the partial file into the table."""
        with atomic_write(self.path) as file:
            if self._format == ".parquet":
                _write_parquet(self.rows(), file)
            else:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
                if self._format == ".csv":
                    text.write(",".join(COLUMNS) + "\n")
                for record in self.rows():
                    text.write(csv_line(record) if self._format == ".csv" else json.dumps(record) + "\n")
                text.detach()
        self._file.close()
        self.partial.unlink()

    def close(self) -> None:
        """Stop without finishing; what was written stays for `resume`."""
        with suppress(OSError):  # of a full disk, which write or flush have told
            self._file.close()


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


@contextmanager
def result_table(path: Path, run: dict[str, Any], resume: bool = False, regions: bool = False) -> Iterator[ResultTable]:
    """A `ResultTable` that is finished when the block ends well, and left for `resume` when it does not."""
    table = ResultTable(path, run, resume, regions)
    try:
        yield table
        table.finish()
    finally:
        table.close()


def _write_parquet(records: Iterator[dict[str, Any]], file: Any) -> None:
    import pyarrow.parquet  # of the extra `parquet`

    kinds = (pyarrow.string(), pyarrow.float32(), pyarrow.float64(), pyarrow.bool_(), pyarrow.string())
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        chunk: list[dict[str, Any]] = []
        for record in records:
            chunk.append({key: _encodable(value) if isinstance(value, str) else value for key, value in record.items()})
            if len(chunk) == _ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
