"""Batches across requests: whenever the engine is free, it takes all that waits, as much as suits the model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from ...calibration import Decision
from ...data.stack import Prepared
from ...model import FittedModel, Row
from ...model.scoring import score_stream


class Batcher:
    """Scores the inputs of many requests together. Every image is scored alone, so its company does not matter.

    Nothing is waited for: a lone request is scored at once, and those that come meanwhile make the next batch. Belongs
    to one event loop; ends by itself when nothing waits.

    Args:
        model: fitted.
        decision: of the model.
        thread: a single one, in which the engine runs.
        observe: told of every batch, how many images it had and how many seconds it took.
    """

    def __init__(
        self, model: FittedModel, decision: Decision, thread: Executor, observe: Callable[[int, float], None]
    ) -> None:
        self._model, self._decision, self._thread, self._observe = model, decision, thread, observe
        self._waiting: deque[tuple[Prepared, asyncio.Future[Row]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def rows(self, inputs: Iterable[Prepared]) -> list[Row]:
        """A row for every input, in their order; what is cancelled while it waits is not scored."""
        loop = asyncio.get_running_loop()
        waiting = [(each, loop.create_future()) for each in inputs]
        self._waiting.extend(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return list(await asyncio.gather(*(future for _, future in waiting)))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                try:
                    rows = await loop.run_in_executor(self._thread, self._score, [each for each, _ in batch])
                except Exception as error:  # whoever waits for it is told
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for row, (_, future) in zip(rows, batch, strict=True):
                    if not future.done():
                        future.set_result(row)
        finally:
            self._task = None

    def _next(self) -> list[tuple[Prepared, asyncio.Future[Row]]]:
        batch: list[tuple[Prepared, asyncio.Future[Row]]] = []
        while self._waiting and len(batch) < self._model.batch_size:
            each = self._waiting.popleft()
            if not each[1].done():  # else its request has ended
                batch.append(each)
        return batch

    def _score(self, inputs: Sequence[Prepared]) -> list[Row]:
        start = time.perf_counter()
        rows = list(score_stream(inputs, self._model.engine, self._decision, len(inputs), self._model.usual))
        self._observe(len(inputs), time.perf_counter() - start)
        return rows
