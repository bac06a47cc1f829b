"""Batches across requests: each row to whom it belongs, in as few runs of the engine as there can be."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from amiss.data import open_images
from amiss.data.stack import Prepared
from amiss.engines import Output
from amiss.model import FittedModel
from amiss.service.web.batching import Batcher


class Slow:
    """An engine that waits to be let go, and remembers the sizes of its batches."""

    name = "onnxruntime"

    def __init__(self, model: FittedModel) -> None:
        self._engine, self.sizes, self.go = model.engine, [], threading.Event()  # type: ignore[var-annotated]

    def run(self, images: np.ndarray) -> Output:
        self.sizes.append(len(images))
        assert self.go.wait(10)
        return self._engine.run(images)


@pytest.fixture
def inputs(model: FittedModel, images: np.ndarray) -> list[Prepared]:
    return list(model.inputs(open_images(images, "score")))


def batcher(model: FittedModel, slow: Slow, monkeypatch: pytest.MonkeyPatch, size: int) -> Batcher:
    monkeypatch.setattr(FittedModel, "engine", slow)
    monkeypatch.setattr(FittedModel, "batch_size", size)
    return Batcher(replace(model), model.decision, ThreadPoolExecutor(1), lambda images, seconds: None)


def test_what_comes_while_the_engine_works_makes_the_next_batch(
    model: FittedModel, images: np.ndarray, inputs: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, slow = model.score(images).scores, Slow(model)
    batches = batcher(model, slow, monkeypatch, 4)

    async def ask() -> list[float]:
        asked = [asyncio.create_task(batches.rows([each])) for each in inputs[:1]]
        await asyncio.sleep(0.05)  # the first is with the engine
        asked += [asyncio.create_task(batches.rows(inputs[1:4])), asyncio.create_task(batches.rows(inputs[4:]))]
        await asyncio.sleep(0.05)
        slow.go.set()
        return [row.score for rows in await asyncio.gather(*asked) for row in rows]

    np.testing.assert_allclose(asyncio.run(ask()), expected, rtol=1e-6)
    assert slow.sizes == [1, 4, 4, 3]


def test_what_is_cancelled_while_it_waits_is_not_scored(
    model: FittedModel, inputs: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(model)
    batches = batcher(model, slow, monkeypatch, 2)

    async def ask() -> None:
        first = asyncio.create_task(batches.rows(inputs[:1]))
        await asyncio.sleep(0.05)
        second, third = asyncio.create_task(batches.rows(inputs[1:4])), asyncio.create_task(batches.rows(inputs[4:6]))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        slow.go.set()
        assert len(await first) == 1
        assert len(await third) == 2

    asyncio.run(ask())
    assert slow.sizes == [1, 2]


def test_an_engine_that_fails_once_goes_on(
    model: FittedModel, images: np.ndarray, inputs: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, engine = model.score(images).scores, model.engine

    class Fails(Slow):
        def run(self, images: np.ndarray) -> Output:
            self.sizes.append(len(images))
            if len(self.sizes) == 1:
                raise RuntimeError("out of memory")
            return engine.run(images)

    batches = batcher(model, Fails(model), monkeypatch, 4)

    async def ask() -> list[float]:
        with pytest.raises(RuntimeError, match="out of memory"):
            await batches.rows(inputs[:2])
        return [row.score for row in await batches.rows(inputs)]

    np.testing.assert_allclose(asyncio.run(ask()), expected, rtol=1e-6)
