"""Watching a folder: every image that appears in it is scored once, whatever ends the program in between."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..data import Item
from ..data.collection import Collection
from ..data.decode import is_image_name, read_image
from ..data.layouts import find_masks
from ..data.masks import looks_like_mask
from ..data.pages import with_pages
from ..environment.files import make_folder
from ..environment.outputs import only_writer
from ..errors import UsageError
from ..model import FittedModel, Row
from ..report.table import as_record
from ..report.unlike import UnlikeImages
from .records import Record, append_record, read_records

#: Seconds between two looks; of a large folder, so many times as long as a look takes.
_EVERY, _RESTING = 1.0, 10
#: Seconds for which a file must not have changed before it is read, and before it counts as damaged.
_SETTLED, _DAMAGED = 1.0, 10.0
#: Images scored together at most: none waits long for the others, and a stop does not either.
_TOGETHER = 8


class _State(NamedTuple):
    """Of a file, by which it is known again: a file that was written anew is another one."""

    size: int
    modified: int


class FolderWatcher:
    """Scores each image file in a folder and those below it once, and adds a row for it to `images.jsonl`.

    The rows are the memory: a run that is started again, or was killed, goes on behind them. A file that has been
    written anew is scored again; one that is moved within the folder has another name, and is a new one. Files that are
    still being written, which change between two looks or cannot be read yet, are waited for. Masks and hidden files
    are passed over. The folder is looked at every second, which works on every system and for network drives, where
    notifications of the system do not; nothing depends on the clock.

    Args:
        model: fitted on images.
        folder: to watch. It may be missing for a while.
        out: where `images.jsonl` grows.
        source: what the folder is called in records.

    Attributes:
        images: rows of this run.
        anomalous: how many of them are flagged.
        unreadable: how many have an error.
        unlike: images that look unlike those learnt from.

    Raises:
        UsageError: the model sees clips.
        WriteError: `out` cannot be made.
    """

    def __init__(self, model: FittedModel, folder: Path, out: Path, source: str | None = None) -> None:
        if model.clip_length > 1:
            raise UsageError(
                f"{model.label} sees clips, and a folder is watched image by image; give a model of single images, or "
                "watch the camera or the video itself"
            )
        make_folder(out)
        self._model, self._folder, self._out, self._source = model, folder, out, source or str(folder)
        self._stopped = threading.Event()
        self._done: dict[str, _State] = {}
        self._changing: dict[str, tuple[_State, float]] = {}  # since when a file that is not done has been as it is
        self.images = self.anomalous = self.unreadable = 0
        self.unlike = UnlikeImages("image")

    def stop(self) -> None:
        """End after the images that are being scored."""
        self._stopped.set()

    def watch(self, told: Callable[[str, str], None] = lambda what, why: None) -> Generator[Record, None, None]:
        """Score what is there and what comes, until `stop`; yields the row of every image, once it is written.

        Args:
            told: is told `lost` with the reason where the folder goes away, and `back`.

        Raises:
            WriteError: the row cannot be written, or somebody else is writing to `out`.
        """
        table = self._out / "images.jsonl"
        with only_writer(self._out):
            for record in read_records(table):
                self._remember(record)
            lost, looked = False, 0.0
            while not self._stopped.is_set():
                begun = time.monotonic()
                try:
                    found = dict(_image_files(self._folder))
                    looked = time.monotonic() - begun
                except OSError as error:
                    if not lost:
                        told("lost", f"{self._folder} cannot be listed ({error.strerror})")
                    lost = True
                else:
                    if lost:
                        told("back", "")
                    lost = False
                    for record in self._scored(self._ready(found)):
                        append_record(table, record)
                        yield record
                self._stopped.wait(max(_EVERY, _RESTING * looked))

    def _remember(self, record: Record) -> None:
        file, size, modified = (record.get(key) for key in ("file", "size", "modified"))
        if isinstance(file, str) and isinstance(size, int) and isinstance(modified, int):
            self._done[file] = _State(size, modified)

    def _ready(self, found: dict[str, _State]) -> list[str]:
        """Names of the files that are not done and have settled; masks are not among them."""
        now = time.monotonic()
        before, self._changing = self._changing, {}
        for name, state in found.items():
            if self._done.get(name) != state:
                earlier, since = before.get(name, (state, now))
                self._changing[name] = (state, since if earlier == state else now)
        ready = sorted(name for name, (_, since) in self._changing.items() if now - since >= _SETTLED)
        if not ready:
            return []
        masks = find_masks(list(found), lambda name: looks_like_mask(self._folder / name)).names
        return [name for name in ready if name not in masks]

    def _scored(self, names: Sequence[str]) -> Iterator[Record]:
        for start in range(0, len(names), _TOGETHER):
            if self._stopped.is_set():
                return
            together = names[start : start + _TOGETHER]
            items, files = [], []
            for name in together:
                pages = with_pages(Collection([_item(self._folder / name)]))
                items += list(pages)
                files += [name] * len(pages)
            rows: dict[str, list[Row]] = {name: [] for name in together}
            for name, row in zip(files, self._model.rows(items), strict=True):
                rows[name].append(row)
            for name in together:
                yield from self._finished(name, rows[name])

    def _finished(self, name: str, rows: Sequence[Row]) -> Iterator[Record]:
        """The rows of a file, unless it has changed in the meantime, is gone, or may still be on its way."""
        state, since = self._changing[name]
        failed = any(row.error is not None for row in rows)
        if _state_of(self._folder / name) != state or (failed and time.monotonic() - since < _DAMAGED):
            return
        for row in rows:
            self.images += 1
            self.anomalous += row.is_anomaly
            self.unreadable += row.error is not None
            self.unlike.add(row)
            record = {"event": "image", "source": self._source, **as_record(row)}
            yield record | {"file": name, "size": state.size, "modified": state.modified}
        self._done[name] = state
        del self._changing[name]


def _image_files(folder: Path) -> Iterator[tuple[str, _State]]:
    """Names below the folder, with `/`, and states of all image files. Raises `OSError` where it cannot be listed."""
    os.listdir(folder)  # `os.walk` is silent about it  # noqa: PTH208
    for above, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in names:
            if is_image_name(name) and not name.startswith("."):
                path = Path(above, name)
                state = _state_of(path)
                if state is not None:
                    yield path.relative_to(folder).as_posix(), state


def _state_of(path: Path) -> _State | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return _State(found.st_size, found.st_mtime_ns)
    return None


def _item(path: Path) -> Item:
    return Item(path.as_posix(), partial(read_image, path))
