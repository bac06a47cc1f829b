"""Result tables: csv, jsonl and parquet, written row by row to a partial file that a broken run can continue.

A table that is finished can be added to: rows of images that it has stay, those of new ones come behind them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..calibration import Decision
from ..data import Item
from ..environment import versions
from ..environment.files import atomic_write, check_writable
from ..environment.outputs import only_writer
from ..errors import DataError, UsageError, WriteError
from ..model.scoring import Row

#: Columns of every result table, in this order; behind them stand those of `FURTHER` that apply.
COLUMNS = ("name", "score", "p_value", "is_anomaly", "error", "note")
#: Seconds from the start of the video, and the picture of the anomaly map.
FURTHER = ("time", "map")
FORMATS = (".csv", ".jsonl", ".parquet")
_ROWS_AT_ONCE = 10_000
#: In a partial file: when the run began, in seconds since 1970, and a row that replaces one with an error.
_BEGUN, _AGAIN = "begun", "again"
#: What makes a spreadsheet run a cell.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
#: What a csv cell holds, if not text.
_CELLS: dict[str, Any] = {"score": float, "p_value": float, "time": float, "is_anomaly": lambda text: text == "true"}


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
        "note": row.note,
    }


def as_row(item: Item, record: dict[str, Any]) -> Row:
    """A row from its record; the map and the digest are not kept."""
    score, p_value = (math.nan if record[key] is None else record[key] for key in ("score", "p_value"))
    return Row(item, score, p_value, bool(record["is_anomaly"]), error=record["error"], note=record["note"])


def csv_line(record: dict[str, Any], columns: Sequence[str] = COLUMNS) -> str:
    """One line of a csv table; a cell that a spreadsheet would run as a formula is kept as text."""
    buffer = io.StringIO(newline="")
    cells = [_as_text(record[column]) for column in columns]
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
    """A result table being written; nobody else can write it until it is closed.

    Rows go to `NAME.partial` (one JSON record a line, whatever the format), which becomes the table when all are there;
    a run that broke leaves it. `resume` keeps the rows of what is there: of the partial file, or else of the finished
    table. Not those of files that were changed since the run that wrote them began: they belong to pictures that are no
    more. So that this is known later, a finished table bears the time when its run began as that of its last change.
    Rows with an error can be replaced where they stand.

    Args:
        path: of the table; its ending chooses the format.
        run: what must be equal for a broken run to be continued (model, inputs, rate), by what each is called.
        resume: keep the rows that are there.
        regions: each record has a list of regions too; in .jsonl alone.
        further: columns of `FURTHER` that each record has.
        decision: that the rows of a finished table must be of. Models, engines or rates that say the same of all its
            scores are not told apart, and need not be.

    Attributes:
        done: rows kept.
        changed: rows that were not kept, because their file was changed.

    Raises:
        UsageError: an unknown ending, or one that cannot hold regions.
        MissingExtraError: parquet without pyarrow.
        DataError: the partial file belongs to another run, or the finished table has other columns, or rows that are
            not what `decision` says of their scores.
        WriteError: the folder is missing or cannot be written to, or somebody else is writing the table.
    """

    def __init__(
        self,
        path: Path,
        run: dict[str, Any],
        resume: bool = False,
        regions: bool = False,
        further: Sequence[str] = (),
        decision: Decision | None = None,
    ) -> None:
        self._format = path.suffix.lower()
        if self._format not in FORMATS:
            raise UsageError(f"{path} must end in {', '.join(FORMATS)} to say how results are written")
        if regions and self._format != ".jsonl":
            raise UsageError(f"{path} holds one value a cell, and regions are lists; end it in .jsonl, or use --coco")
        if self._format == ".parquet":
            versions.require("parquet", "writing parquet", "pyarrow")
        check_writable(path)
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self.columns = (*COLUMNS, *further)
        self._keys = {*self.columns, "regions"} if regions else {*self.columns}
        self._run = {"columns": list(self.columns), **({"regions": True} if regions else {}), **run}
        self._decision = decision
        self.done = self.changed = 0
        self._names: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        with ExitStack() as stack:
            stack.enter_context(only_writer(path))
            try:
                self._begin(resume)
                self._file: IO[str] = stack.enter_context(self.partial.open("a", encoding="utf-8"))
            except OSError as error:
                if isinstance(error, WriteError):
                    raise
                raise WriteError(f"{path} cannot be written: {error.strerror}; choose another place") from error
            self._held = stack.pop_all()

    # -- what is there -------------------------------------------------------------------------------------------------

    def _begin(self, resume: bool) -> None:
        """Leave a partial file of the run's first line and the rows that are kept."""
        self._begun = time.time()  # before any file is looked at: what changes behind it is scored again some day
        if resume and self.partial.exists():
            rows, since = self._in_place(self._broken_off), self._partial_begun()
        elif resume and self.path.exists():
            rows, since = self._decided(self._finished()), self.path.stat().st_mtime
        else:
            rows, since = iter(()), 0.0
        with atomic_write(self.partial) as file:
            file.write(json.dumps({**self._run, _BEGUN: self._begun}).encode() + b"\n")
            for record in rows:
                if _modified(record["name"]) > since:
                    self.changed += 1
                    continue
                file.write(json.dumps(record).encode() + b"\n")
                self.done += 1
                self._names[self.kept_name(record["name"])] += 1
                if record["error"] is not None:
                    self._failed[self.kept_name(record["name"])] += 1

    def _partial_begun(self) -> float:
        """When the broken run began, in seconds since 1970; of an earlier version's, when it wrote last."""
        with self.partial.open("rb") as file:
            header = _parsed(file.readline())
        begun = header.get(_BEGUN) if isinstance(header, dict) else None
        return begun if isinstance(begun, float) else self.partial.stat().st_mtime

    def _in_place(self, read: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """Rows as the table has them: those of a second try stand where the rows with an error stood."""
        later: dict[str, list[dict[str, Any]]] = {}
        for line in read():
            if _AGAIN in line:
                later.setdefault(self.kept_name(line[_AGAIN]["name"]), []).append(line[_AGAIN])
        for line in read():
            if _AGAIN not in line:
                tried = line["error"] is not None and later.get(self.kept_name(line["name"]))
                yield tried.pop(0) if tried else line

    def _broken_off(self) -> Iterator[dict[str, Any]]:
        """The lines of a broken run behind its head, up to the first that is cut or damaged."""
        with self.partial.open("rb") as file:
            header = file.readline()
            earlier = _parsed(header) if header.endswith(b"\n") else None
            told, run = earlier if isinstance(earlier, dict) else {}, json.loads(json.dumps(self._run))
            told.pop(_BEGUN, None)
            if earlier != run:
                changed = ", ".join(name for name in {**told, **run} if told.get(name) != run.get(name))
                raise DataError(
                    f"{self.partial} was left by a run that differs in its {changed}; delete it or repeat that run"
                )
            for line in file:
                found = _parsed(line)
                record = found.get(_AGAIN, found) if isinstance(found, dict) else None
                if not line.endswith(b"\n") or not isinstance(record, dict) or set(record) != self._keys:
                    return  # what comes behind is scored again
                yield found

    def _finished(self) -> Iterator[dict[str, Any]]:
        """The rows of the finished table; one of an earlier version has no notes."""
        other = f"{self.path} is no table with the columns {', '.join(self.columns)}; give another --out"
        read = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[self._format]
        try:
            for record in read(self.path, self.columns):
                if "note" not in record:  # it goes where others have it
                    later = {key: record.pop(key) for key in [*record] if key not in COLUMNS}
                    record |= {"note": None} | later
                if set(record) != self._keys:
                    raise DataError(other)
                yield record
        except (ValueError, csv.Error) as error:  # a damaged file, in any format, or text where a number should stand
            raise DataError(other) from error

    def _decided(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows, each checked against the decision."""
        while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            scored = [record for record in some if record["score"] is not None]
            if self._decision is not None and scored:
                scores = np.array([record["score"] for record in scored], dtype=np.float32)
                p_values, flags = self._decision.p_values(scores).tolist(), self._decision.is_anomaly(scores).tolist()
                for record, *said in zip(scored, p_values, flags, strict=True):
                    if [record["p_value"], record["is_anomaly"]] != said:
                        raise DataError(
                            f"{self.path} was written with another model, engine or false-alarm rate, or edited: the "
                            f"first row that differs is that of {record['name']}; give another --out"
                        )
            yield from some

    def lacking(self, names: Iterable[str]) -> list[int]:
        """Positions of the names that have no row yet; of a name that stands there twice, two rows are wanted."""
        left = self._names.copy()
        return [position for position, name in enumerate(map(self.kept_name, names)) if not _taken(left, name)]

    def failed(self, names: Iterable[str]) -> list[int]:
        """Positions of the names whose kept row has an error, each to be scored again: see `replace`."""
        left = self._failed.copy()
        return [position for position, name in enumerate(map(self.kept_name, names)) if _taken(left, name)]

    def kept_name(self, name: str) -> str:
        """What a name is in a table of this format."""
        if self._format == ".jsonl":
            return name
        return str(_as_text(name)) if self._format == ".csv" else _encodable(name)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def write(self, record: dict[str, Any]) -> None:
        """Append one row."""
        self._write_line(record)

    def replace(self, record: dict[str, Any]) -> None:
        """Put a row in the place of one of its name that has an error."""
        self._write_line({_AGAIN: record})

    def _write_line(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
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
        return self._in_place(self._lines)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.partial.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def finish(self) -> None:
        """Turn the partial file into the table, and close it."""
        with atomic_write(self.path) as file:
            if self._format == ".parquet":
                _write_parquet(self.rows(), file, self.columns)
            else:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
                if self._format == ".csv":
                    text.write(",".join(self.columns) + "\n")
                for record in self.rows():
                    text.write(csv_line(record, self.columns) if self._format == ".csv" else json.dumps(record) + "\n")
                text.detach()
        os.utime(self.path, (self._begun, self._begun))
        self._file.close()
        self.partial.unlink()
        self.close()

    def close(self) -> None:
        """Stop without finishing; what was written stays for `resume`."""
        with suppress(OSError):  # of a full disk, which write or flush have told
            self._held.close()


def _taken(left: Counter[str], name: str) -> bool:
    """Take one of that name; is there one?"""
    if not left[name]:
        return False
    left[name] -= 1
    return True


def _modified(name: str) -> float:
    """When the file of an image was changed last; 0 where there is none of that name.

    Frames are called `FILE[number]`, and what was cut out of a picture `FILE#number`.
    """
    for path in (name, re.sub(r"\[\d+\]$|#\d+$", "", name)):
        with suppress(OSError, ValueError):
            return Path(path).stat().st_mtime
    return 0.0


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


@contextmanager
def result_table(
    path: Path,
    run: dict[str, Any],
    resume: bool = False,
    regions: bool = False,
    further: Sequence[str] = (),
    decision: Decision | None = None,
) -> Iterator[ResultTable]:
    """A `ResultTable` that is finished when the block ends well, and left for `resume` when it does not."""
    table = ResultTable(path, run, resume, regions, further, decision)
    try:
        yield table
        table.finish()
    finally:
        table.close()


def _check_columns(found: Sequence[str] | None, columns: Sequence[str]) -> None:
    if list(found or ()) not in (list(columns), [column for column in columns if column != "note"]):
        raise ValueError(f"the columns are {found}")


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        _check_columns(reader.fieldnames, columns)
        for cells in reader:
            if None in cells or None in cells.values():
                raise ValueError("a row with more or fewer cells than columns")
            yield {
                name: _CELLS.get(name, str)(text) if text or name == "name" else None for name, text in cells.items()
            }


def _read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield dict(json.loads(line))


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet  # of the extra `parquet`

    with pyarrow.parquet.ParquetFile(path) as file:
        _check_columns(file.schema_arrow.names, columns)
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                # the shortest number that is this float32, as the other formats have it
                score = record.get("score")
                yield record if score is None else record | {"score": float(f"{score:.9g}")}


def _write_parquet(records: Iterator[dict[str, Any]], file: Any, columns: Sequence[str]) -> None:
    import pyarrow.parquet  # of the extra `parquet`

    kinds = {"score": pyarrow.float32(), "p_value": pyarrow.float64(), "is_anomaly": pyarrow.bool_()}
    kinds |= {"time": pyarrow.float64()}
    schema = pyarrow.schema([(column, kinds.get(column, pyarrow.string())) for column in columns])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        chunk: list[dict[str, Any]] = []
        for record in records:
            chunk.append({key: _encodable(value) if isinstance(value, str) else value for key, value in record.items()})
            if len(chunk) == _ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
