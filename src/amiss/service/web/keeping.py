"""Keeping what was scored, from within requests. Loads no database where nothing is kept."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from ...calibration import Decision
from ...data.collection import Pixels
from ...data.stack import Prepared
from ...model import Row
from ...report.heatmap import shrunk
from .models import ServedModel

if TYPE_CHECKING:
    from .drifting import DriftWatch
    from .history import History

T = TypeVar("T")

logger = logging.getLogger("amiss")

#: Pixels of the longest side of a thumbnail.
_THUMBNAIL = 128


class Keeping:
    """Keeps what was scored, in a thread of its own; without a history it keeps nothing.

    A history that fails, on a full disk, say, costs no answer: its entries are missing, and the log says why.

    Args:
        history: where to keep it.
        drift: watches what is kept for changes.
        images: whether to keep the images themselves, too.
    """

    def __init__(self, history: History | None, drift: DriftWatch | None = None, images: bool = False) -> None:
        self._history, self._drift, self.images = history, drift, images
        self._thread = ThreadPoolExecutor(1, "amiss-history")

    @property
    def picture(self) -> int | None:
        """The size of the pictures that are needed of what is scored; None for none."""
        return None if self._history is None else _THUMBNAIL

    async def keep(
        self,
        served: ServedModel,
        scored: Sequence[tuple[Prepared, Row]],
        decision: Decision,
        files: Sequence[bytes] | None = None,
    ) -> list[int | None]:
        """Keep each image that could be read; gives the numbers of the entries.

        Args:
            served: by which it was scored.
            scored: images and rows.
            decision: by which it was decided.
            files: the image files; None for arrays of 8 bits.
        """
        history = self._history
        if history is None:
            return [None] * len(scored)
        try:
            return await self.ask(self._kept, history, served, scored, decision, files)
        except Exception:  # whatever is wrong with the history, the scores are right
            logger.exception("the history keeps nothing of what was just scored by %s", served.name)
            return [None] * len(scored)

    async def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """What the work gives, done in the history's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _kept(
        self,
        history: History,
        served: ServedModel,
        scored: Sequence[tuple[Prepared, Row]],
        decision: Decision,
        files: Sequence[bytes] | None,
    ) -> list[int | None]:
        readable = [index for index, (_, row) in enumerate(scored) if row.error is None]
        if not readable:
            return [None] * len(scored)
        scores = [scored[index][1].score for index in readable]
        entries = []
        for index, p_value, flag in zip(readable, decision.p_values(scores), decision.is_anomaly(scores), strict=True):
            prepared, row = scored[index]
            image = None
            if self.images:
                image = _png(prepared.item.read()) if files is None else files[index]
            entries.append(history.entry(
                model=served.name,
                version=served.version,
                name=row.item.name,
                score=row.score,
                p_value=float(p_value),
                is_anomaly=bool(flag),
                rate=decision.false_alarm_rate,
                thumbnail=_jpeg(prepared),
                image=image,
            ))  # fmt: skip
        numbers: list[int | None] = [None] * len(scored)
        for index, number in zip(readable, history.add(entries), strict=True):
            numbers[index] = number
        if self._drift is not None:
            self._drift.see(served, scores)
        return numbers

    def close(self) -> None:
        """Finish what has been begun, and let go of the database."""
        self._thread.shutdown()
        if self._history is not None:
            self._history.close()


def _jpeg(prepared: Prepared) -> bytes | None:
    if prepared.picture is None:
        return None
    stream = io.BytesIO()
    Image.fromarray(shrunk(prepared.picture, _THUMBNAIL)).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3)
    return stream.getvalue()
