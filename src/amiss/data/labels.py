"""Labels that people write beside their images: names of folders, `groups.csv`, and `events.csv` for videos."""

# os.path and strings as in folder.py: names keep the path as given.
# ruff: noqa: PTH110, PTH118, PTH122, PTH123

from __future__ import annotations

import csv
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from amiss.data.clips import video_of
from amiss.data.collection import Collection, Item, LazyItems
from amiss.errors import DataError

#: Names of the folders (and kinds) that hold normal images; case, hyphens and spaces do not matter.
NORMAL_FOLDERS = ("good", "normal", "free", "ok")
_NORMAL_TOO = frozenset({"okay", "pass", "passed", "io", "defect_free", "no_defect", "no_defects", "non_defective"})
#: Words that speak of anomalies, wherever they stand in a folder's name.
_ANOMALOUS = frozenset({
    "ko", "ng", "nok", "nio", "notok", "not", "bad", "fail", "failed", "reject", "rejected", "rejects", "faulty",
    "fault", "faults", "abnormal", "anomaly", "anomalies", "anomalous", "outlier", "outliers", "defect", "defects",
    "defective", "damage", "damaged", "broken", "crack", "cracks", "cracked", "scratch", "scratches", "scratched",
    "dent", "dents", "dented", "hole", "holes", "blowhole", "stain", "stains", "stained", "rust", "contamination",
    "contaminated",
})  # fmt: skip

#: The kind that normal images have in every collection made from a folder.
NORMAL_KIND = "good"

#: Of the number of a frame.
_MOST_DIGITS = 18


def is_normal_name(name: str) -> bool:
    """Whether a folder, or kind, of this name holds normal images.

    >>> is_normal_name("OK"), is_normal_name("defect-free"), is_normal_name("ok?")
    (True, True, False)
    """
    plain = re.sub(r"[\s-]+", "_", name.strip()).casefold()
    return plain in NORMAL_FOLDERS or plain in _NORMAL_TOO


def sounds_anomalous(name: str) -> bool:
    """Whether a word in the name of a folder speaks of anomalies.

    >>> sounds_anomalous("NG"), sounds_anomalous("large_crack"), sounds_anomalous("defect-free"), sounds_anomalous("a")
    (True, True, False, False)
    """
    return not is_normal_name(name) and not _ANOMALOUS.isdisjoint(re.split(r"[^a-z]+", name.casefold()))


class GroupRow(NamedTuple):
    """What `groups.csv` says of one file; None where it is silent."""

    kind: str | None
    group: str | None
    part: str | None


class Stretch(NamedTuple):
    """Anomalous frames of a video, from the first to the last of them, counted from 0; `where` the table says so."""

    video: str
    start: int
    end: int
    kind: str | None
    where: str


def read_groups(path: str | os.PathLike[str]) -> dict[str, GroupRow]:
    """Read a `groups.csv`: columns `file` (relative to the table), and optionally `kind`, `group` and `part`.

    Returns:
        The row of each file, by its relative path with `/`.

    Raises:
        DataError: a malformed row, with its line number; a missing column `file`; not UTF-8.
    """
    rows: dict[str, GroupRow] = {}
    for where, row in read_table(path, ("file",)):
        file = row["file"].replace("\\", "/").removeprefix("./")
        if file in rows:
            raise DataError(f"{where}: {file} stands in the table twice; remove one line")
        rows[file] = GroupRow(*(row.get(key) or None for key in GroupRow._fields))
    return rows


def rows_by_stem(rows: dict[str, GroupRow], names: Sequence[str]) -> tuple[dict[str, GroupRow], int]:
    """The rows, those of missing files moved to the one image that has their name but for the ending; and how many.

    So a table holds on when its pictures are saved as `.jpg` instead of `.png`. Where two listed files, or two images,
    share a name, nothing is guessed.

    >>> moved, count = rows_by_stem({"a/1.png": GroupRow(None, "part-1", None)}, ["a/1.jpg", "a/2.jpg"])
    >>> moved["a/1.jpg"].group, count
    ('part-1', 1)
    """
    found = set(names)
    images, listed = (Counter(os.path.splitext(name)[0] for name in each) for each in (names, rows))
    now = {}
    for name in names:
        stem = os.path.splitext(name)[0]
        if name not in rows and images[stem] == listed[stem] == 1:
            now[stem] = name
    moved = {file: now[stem] for file in rows if file not in found and (stem := os.path.splitext(file)[0]) in now}
    return {moved.get(file, file): row for file, row in rows.items()}, len(moved)


def read_events(path: str | os.PathLike[str]) -> list[Stretch]:
    """Read an `events.csv`: columns `video`, `start`, `end` (frames, counted from 0, both included), perhaps `kind`.

    A video is named relative to the table: a file, a folder of frames, or `.` for the folder that the table lies in.

    Raises:
        DataError: a malformed row, with its line number; a missing column; a kind that means normal; not UTF-8.
    """
    found = []
    for where, row in read_table(path, ("video", "start", "end")):
        for key in ("start", "end"):
            if not row[key].isdecimal() or len(row[key]) > _MOST_DIGITS:
                raise DataError(f"{where}: {key} is {row[key]!r}; give the number of a frame, counted from 0")
        start, end, kind = int(row["start"]), int(row["end"]), row.get("kind") or None
        if start > end:
            raise DataError(f"{where}: start {start} comes after end {end}; give the first frame, then the last")
        if kind and is_normal_name(kind):
            raise DataError(f"{where}: the kind {kind!r} means normal, but the table lists anomalies; name another")
        video = row["video"].replace("\\", "/").removeprefix("./").rstrip("/") or "."
        found.append(Stretch(video, start, end, kind, where))
    return found


def with_events(collection: Collection, stretches: Sequence[Stretch], root: str, whole: bool = True) -> Collection:
    """The collection with labels for every frame: anomalous in the stretches, normal everywhere else.

    Each video file, and each folder of images, is a video; frames of one stay together in splits.

    Args:
        collection: frames of the videos below `root`, those of each video in their order.
        stretches: of `events.csv` in `root`.
        root: the folder.
        whole: is all of the folder in the collection? Else stretches of videos outside it are passed over.

    Raises:
        DataError: a stretch of an unknown video, or past the end of its video.
    """
    prefix = os.path.join(root, "").replace(os.sep, "/")
    places: dict[str, list[int]] = {}
    cut: set[str] = set()  # of these nobody knows how long they were
    for place, item in enumerate(collection):
        frames = places.setdefault(f"{video_of(item)}/".removeprefix(prefix).rstrip("/") or ".", [])
        if item.name == item.video:
            cut.add(item.name.removeprefix(prefix))
        else:
            frames.append(place)
    marks = np.zeros(len(collection), dtype=np.int32)
    for number, stretch in enumerate(stretches, start=1):
        if stretch.video not in places:
            if not whole and os.path.exists(prefix + stretch.video):
                continue
            raise DataError(
                f"{stretch.where}: {stretch.video} is no video in {root}; "
                f"write its path as seen from there, such as {next(iter(places))}"
            )
        frames = places[stretch.video]
        if stretch.end >= len(frames) and stretch.video not in cut:
            raise DataError(
                f"{stretch.where}: end {stretch.end} is past the last frame of {stretch.video}, which is "
                f"{len(frames) - 1}, counted from 0; mend the line"
            )
        marks[frames[stretch.start : stretch.end + 1]] = number

    def labelled(place: int) -> Item:
        item, mark = collection[place], int(marks[place])
        kind = stretches[mark - 1].kind if mark else NORMAL_KIND
        video = video_of(item)
        return replace(item, kind=kind, anomalous=mark > 0, group=item.group or video, video=video)

    note = f"events.csv calls {np.count_nonzero(marks)} of {len(marks)} frames of {collection.title} anomalous"
    return Collection(LazyItems(range(len(marks)), labelled), collection.title, (*collection.notes, note))


def as_number(text: str) -> float:
    """A number with a point or a comma before its decimals; NaN where the text is none.

    >>> as_number("31.5"), as_number("31,5"), as_number("-3"), as_number("one")
    (31.5, 31.5, -3.0, nan)
    """
    try:
        return float(re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text))
    except ValueError:
        return math.nan


def _divider(head: str, columns: Sequence[str]) -> str:
    """What divides the fields of a table's first line: the sign that makes the columns appear, else a comma."""
    for sign in (",", ";", "\t"):
        if set(columns) <= {field.strip().strip('"') for field in head.strip("\r\n").split(sign)}:
            return sign
    return max((",", ";", "\t"), key=head.count)


def read_table(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file whose first line names the columns, as text without spaces around it.

    Commas, semicolons or tabs divide the fields, as spreadsheets of different languages write them; a line before the
    names may say which (`sep=;`). Rows without any text are passed over.

    Args:
        path: the file, in UTF-8.
        columns: those that must be there, and have a value in every row.

    Yields:
        Where the row stands (`NAME, line 2`), and its fields by column.

    Raises:
        DataError: a missing column or field, a malformed row, with its line number; not UTF-8; not readable.
    """
    name = os.fspath(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            head = stream.readline()
            told = re.fullmatch(r"sep=(.)\s*", head)
            skipped = 1 if told else 0
            head = stream.readline() if told else head
            divider = told[1] if told else _divider(head, columns)
            reader = csv.reader(itertools.chain([head], stream), delimiter=divider, strict=True)
            named = [column.strip() for column in next(reader, [])]
            for column in columns:
                if column not in named:
                    raise DataError(
                        f"{name}, line 1: there is no column {column!r}; name the columns in the first line"
                    )
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                where = f"{name}, line {reader.line_num + skipped}"
                if len(fields) != len(named):
                    raise DataError(f"{where}: {len(fields)} fields where {len(named)} are expected; mend the line")
                row = {column: field.strip() for column, field in zip(named, fields, strict=True)}
                for column in columns:
                    if not row[column]:
                        raise DataError(f"{where}: the field {column!r} is empty; mend the line")
                yield where, row
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num + skipped}: {error}; mend the line") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not written in UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{name} cannot be opened ({error.strerror}); check the right to read it") from error
