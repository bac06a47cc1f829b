"""Have the pictures changed since a model was fitted? Kept in the history, shown in the metrics, told to a webhook."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from ...calibration import DriftTest
from ...errors import DataError
from .metrics import Metrics
from .models import ServedModel

if TYPE_CHECKING:
    from .history import History

#: What an alarm says.
MESSAGE = "the pictures have changed: light, camera or parts"
#: Of false alarms, over all images that a model will ever see.
LEVEL = 0.01
#: Entries whose p-values and decisions are shown, and columns of the histogram.
_RECENT, _BINS = 1000, 10

logger = logging.getLogger("amiss")


class DriftFacts(BaseModel):
    """Whether the pictures that a model is shown have changed."""

    changed: bool
    changed_since: datetime.datetime | None = Field(description="When the evidence sufficed.")
    message: str = Field(description="One sentence.", examples=[MESSAGE])
    images: int = Field(description="That the test has seen.", examples=[1234])
    log10_evidence: float = Field(description="Decimal logarithm of what bets against no change have won.")
    log10_needed: float = Field(description="What it takes to say that they have changed.", examples=[2.0])
    recent: int = Field(description="Latest images, of which the next two speak.", examples=[1000])
    flagged: float | None = Field(description="Share of them that was flagged.", examples=[0.012])
    false_alarm_rate: float = Field(description="That was asked for.", examples=[0.01])
    p_values: list[int] = Field(description="How many of them have a p-value up to 0.1, up to 0.2, ..., up to 1.")


class DriftWatch:
    """A drift test for every version of a model, kept in the history. Its methods wait for the disk; call them in the
    thread of the history.

    Args:
        history: where the tests are kept.
        metrics: show them.
        tell: is told of every change, as a record for a webhook.
    """

    def __init__(self, history: History, metrics: Metrics, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self._history, self._metrics, self._tell = history, metrics, tell
        self._tests: dict[tuple[str, str], tuple[DriftTest, datetime.datetime | None]] = {}

    def see(self, served: ServedModel, scores: Sequence[float]) -> None:
        """Take in scores, in the order in which the images came."""
        test, since = self.of(served)
        before = test.changed
        if test.see(scores) and not before:
            since = datetime.datetime.now(datetime.UTC)
            logger.warning("%s: %s (after %d images)", served.name, MESSAGE, test.seen)
            self._tell({
                "event": "drift",
                "model": served.name,
                "version": served.version,
                "time": since.isoformat(),
                "message": MESSAGE,
                "images": test.seen,
                "log10_evidence": test.log10_evidence,
            })  # fmt: skip
        self._keep(served, test, since)

    def of(self, served: ServedModel) -> tuple[DriftTest, datetime.datetime | None]:
        """The test of a model, and since when it says that the pictures have changed."""
        key = (served.name, served.version)
        if key not in self._tests:
            kept = self._history.drift(*key)
            test, since = None, None
            if kept is not None:
                try:
                    test = DriftTest.from_json(kept.state)
                    since = None if kept.changed is None else kept.changed.replace(tzinfo=datetime.UTC)
                except DataError as error:
                    logger.warning("the drift test of %s begins anew: %s", served.name, error)
            self._tests[key] = test or DriftTest.of(served.decision, LEVEL, _seed(served)), since
            self._show(served, self._tests[key][0])
        return self._tests[key]

    def begin_anew(self, served: ServedModel) -> None:
        """Take the pictures as they are now for unchanged: the next ones are compared with each other alone."""
        calibration = served.decision.calibration
        self._keep(served, DriftTest(calibration, LEVEL, _seed(served), rank_among_start=False), None)

    def facts(self, served: ServedModel) -> DriftFacts:
        """What there is to tell of a model."""
        test, since = self.of(served)
        recent = self._history.recent(served.name, served.version, _RECENT)
        p_values = np.array([p_value for p_value, _, _ in recent], dtype=np.float64)
        bins = np.clip(np.ceil(_BINS * p_values - 1e-9).astype(int) - 1, 0, _BINS - 1)
        rates = [rate for _, _, rate in recent]
        return DriftFacts(
            changed=test.changed,
            changed_since=since,
            message=MESSAGE if test.changed else "no sign of a change",
            images=test.seen,
            log10_evidence=test.log10_evidence,
            log10_needed=-float(np.log10(test.level)),
            recent=len(recent),
            flagged=float(np.mean([flag for _, flag, _ in recent])) if recent else None,
            false_alarm_rate=float(np.mean(rates)) if rates else served.decision.false_alarm_rate,
            p_values=np.bincount(bins, minlength=_BINS).tolist(),
        )

    def _keep(self, served: ServedModel, test: DriftTest, since: datetime.datetime | None) -> None:
        self._tests[(served.name, served.version)] = test, since
        self._show(served, test)
        self._history.keep_drift(served.name, served.version, test.to_json(), since)

    def _show(self, served: ServedModel, test: DriftTest) -> None:
        self._metrics.drift_evidence.labels(served.name).set(test.log10_evidence)
        self._metrics.drift.labels(served.name).set(test.changed)


def _seed(served: ServedModel) -> int:
    """Of the version, so that the same images in the same order give the same evidence."""
    return int(served.version or "0", 16)
