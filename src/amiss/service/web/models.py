"""The models in service, each by its name; a new file in place of the old is taken up while requests go on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...calibration import Decision
from ...data import Item
from ...data.stack import Prepared, prepare_item
from ...environment.machine import cpu_count
from ...errors import AmissError, UsageError
from ...model import FittedModel, Row
from ...report.table import digest_of
from .. import versions
from .batching import Batcher
from .limits import Admission, Limits
from .metrics import Metrics

T = TypeVar("T")

logger = logging.getLogger("amiss")

#: Seconds between two looks at the files.
_EVERY = 1.0
_VERSION_DIGITS = 12
#: Images that are unpacked at the same time, at most: each may take hundreds of megabytes.
_READERS = 8
#: What tells that a file is another: when it was written, its size, its inode.
_Signature = tuple[int, int, int]


class Workers:
    """Where the work of all models is done: images are read by several threads, scored by one, explained by one.

    Args:
        limits: of the service.
        metrics: of the service.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.reading = ThreadPoolExecutor(min(_READERS, cpu_count()), "amiss-read")
        self.scoring = ThreadPoolExecutor(1, "amiss-score")
        self.explaining = ThreadPoolExecutor(1, "amiss-explain")
        self.admission = Admission(limits.waiting)
        self._metrics = metrics
        metrics.waiting(lambda: self.admission.accepted)

    def observe(self, images: int, seconds: float) -> None:
        """A batch of so many images took so many seconds."""
        self._metrics.batches.observe(images)
        self.admission.took(images, seconds)

    def count(self, model: str, row: Row) -> None:
        """A model of this name gave this row."""
        result = "unreadable" if row.error is not None else "anomalous" if row.is_anomaly else "normal"
        self._metrics.images.labels(model, result).inc()

    def close(self) -> None:
        """Let the threads end; what has been begun is finished."""
        for pool in (self.reading, self.scoring, self.explaining):
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model in service; a new file makes another.

    Attributes:
        name: the file's, without its ending.
        version: the first 12 digits of the file's SHA-256.
        since: when it was loaded.
        model: fitted.
        decision: its, at its own false-alarm rate.
        workers: do the work of all models.
        batcher: scores the inputs of many requests together.
    """

    name: str
    version: str
    since: datetime.datetime
    model: FittedModel
    decision: Decision
    workers: Workers
    batcher: Batcher

    def admitted(self, images: int) -> AbstractContextManager[None]:
        """Room for so many images while the block runs. Raises `BusyError` where too many are waiting."""
        return self.workers.admission.of(images)

    async def scored(self, items: Sequence[Item], picture: int | None = None) -> list[tuple[Prepared, Row]]:
        """Each image, prepared, and its row, which has an error where it cannot be read; scored together with those of
        other requests. They must have been admitted.

        Args:
            items: images.
            picture: see `FittedModel.rows`.
        """
        loop, shape = asyncio.get_running_loop(), self.model.preprocessing
        reading = [loop.run_in_executor(self.workers.reading, prepare_item, item, shape, picture) for item in items]
        prepared = await asyncio.gather(*reading)
        rows = await self.batcher.rows(prepared)
        for row in rows:
            self.workers.count(self.name, row)
        return list(zip(prepared, rows, strict=True))

    async def explained(self, work: Callable[..., T], *arguments: Any) -> T:
        """What the work gives, done where one explanation at a time is made."""
        return await asyncio.get_running_loop().run_in_executor(self.workers.explaining, work, *arguments)

    def decision_at(self, rate: float | None) -> Decision:
        """The model's own decision, or the one at another false-alarm rate. Raises `UsageError` for none in (0, 1)."""
        return self.decision if rate is None else replace(self.decision, false_alarm_rate=rate)


class ServedModels(Mapping[str, ServedModel]):
    """The models of some files, by name, which is the file's without its ending.

    Args:
        paths: of the model files.
        load: gives the fitted model of a file.
        workers: do the work.
        metrics: count what is loaded anew.

    Raises:
        UsageError: two files of one name, no file, or a model that does not score single images.
        ModelFileError: a file that cannot be used.

    Attributes:
        faults: by name, one sentence on why the file that lies there now is not in use.
    """

    def __init__(
        self, paths: Sequence[Path], load: Callable[[Path], FittedModel], workers: Workers, metrics: Metrics
    ) -> None:
        self._load, self._workers, self._metrics = load, workers, metrics
        self._paths: dict[str, Path] = {}
        self._signatures: dict[str, _Signature | None] = {}
        self._models: dict[str, ServedModel] = {}
        self.faults: dict[str, str] = {}
        if not paths:
            raise UsageError("there is no model to serve; give at least one model file")
        for path in paths:
            if path.stem in self._paths:
                raise UsageError(f"{self._paths[path.stem]} and {path} would have one name; rename one of them")
            self._paths[path.stem] = path
            self._signatures[path.stem] = _signature(path)
            self._models[path.stem] = self._served(path)

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    async def watch(self) -> None:
        """Take up new files, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            await self.refresh()

    async def refresh(self) -> None:
        """Look at every file once. A file that changed is loaded beside the model in use, takes its place where it can
        be used, and leaves it there where it cannot; what the old one has accepted, it finishes."""
        for name, path in self._paths.items():
            found = await asyncio.to_thread(_signature, path)
            if found == self._signatures[name]:
                continue
            self._signatures[name] = found
            try:
                served = await asyncio.to_thread(self._served, path)
            except Exception as error:  # whatever is wrong with the new one, the old one works
                logger.warning(
                    "the new file of %s is not used: %s", name, error, exc_info=not isinstance(error, AmissError)
                )
                self.faults[name] = "the file that lies there now cannot be used; the log of the service says why"
                self._metrics.reloads.labels(name, "refused").inc()
                continue
            self.faults.pop(name, None)
            if served.version != self._models[name].version:
                logger.info("%s is now version %s", name, served.version)
                self._metrics.reloads.labels(name, "taken up").inc()
                self._models[name] = served

    def earlier(self, name: str) -> str | None:
        """The version that `go_back` would put in place; reads files."""
        found = versions.earlier(self._paths[name])
        return None if found is None else found.digest[:_VERSION_DIGITS]

    async def go_back(self, name: str) -> None:
        """Put the version before the present one in the file's place, and take it up. Raises `UsageError` for none."""
        await asyncio.to_thread(versions.go_back, self._paths[name])
        await self.refresh()

    def _served(self, path: Path) -> ServedModel:
        version = digest_of(path)[:_VERSION_DIGITS] if path.is_file() else ""
        model = self._load(path)  # which says what is wrong with a file
        if model.clip_length > 1:
            raise UsageError(
                f"{path} holds {model.label}, which scores clips of {model.clip_length} frames, and single images are "
                "served; try: amiss watch"
            )
        model.run(model.reference[:1])  # so that the first request need not wait for the engine
        decision = model.decision
        batcher = Batcher(model, decision, self._workers.scoring, self._workers.observe)
        now = datetime.datetime.now(datetime.UTC)
        return ServedModel(path.stem, version, now, model, decision, self._workers, batcher)


def _signature(path: Path) -> _Signature | None:
    with contextlib.suppress(OSError):
        facts = path.stat()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino
    return None
