"""Gathers what a report shows while rows stream by: all scores, but only a few pictures."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration.maps import smoothed
from ..data.preprocessing import to_float
from ..metrics import Ranking
from ..progress import Progress, silent
from .explained import explained_picture
from .heatmap import shrunk
from .page import Picture, ReportData, write_report
from .score_curves import Timelines, timeline_views
from .unlike import UnlikeImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.collection import Pixels
    from ..explain.explainer import Explainer
    from ..explain.explanation import Explanation
    from ..model import FittedModel, Row

_PICTURES = 12
#: Frames of a video that are too near to each other to show both.
_NEIGHBOURS = 50
_LISTED_ERRORS = 100
#: Pixels of the longest side of an explanation; as large as the page shows them, so that frames stay visible.
_EXPLAINED = 420


class _Few:
    """The rows with the largest keys; earlier rows win ties. Of neighbouring frames of a video there is one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Row]] = []

    def offer(self, key: float, number: int, row: Row) -> None:
        """Take in the row of this number, if it is among the largest."""
        if len(self._heap) == _PICTURES and key <= self._heap[0][0]:
            return
        if row.item.video is not None:
            near = [entry for entry in self._heap if self._neighbours(entry, number, row)]
            if any(entry[0] >= key for entry in near):
                return
            self._heap = [entry for entry in self._heap if entry not in near]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (key, -number, row))
        if len(self._heap) > _PICTURES:
            heapq.heappop(self._heap)

    @staticmethod
    def _neighbours(entry: tuple[float, int, Row], number: int, row: Row) -> bool:
        return entry[2].item.video == row.item.video and abs(-entry[1] - number) < _NEIGHBOURS

    def rows(self) -> list[Row]:
        return [row for _, _, row in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def report_path(target: Path) -> Path:
    """`target` itself where it ends in .html, else `report.html` in it."""
    return target if target.suffix in (".html", ".htm") else target / "report.html"


class ReportCollector:
    """Collects rows one by one and writes the HTML page; memory grows by a few bytes an image.

    Args:
        model: gave the rows.
        title: of the page.
        explainer: explains the flagged images among those that are shown; of methods that see single images.
        progress: told how many have been explained.
    """

    def __init__(
        self, model: FittedModel, title: str, explainer: Explainer | None = None, progress: Progress = silent
    ) -> None:
        self._model, self._title = model, title
        self._explainer, self._progress, self._explained = explainer, progress, 0
        self._decision = model.decision
        self._scores: list[float] = []
        self._flags: list[bool] = []
        self._kinds: list[str | None] = []
        self._errors: list[tuple[str, str]] = []
        self._error_count = 0
        self._worst, self._borderline, self._missed, self._false_alarms = _Few(), _Few(), _Few(), _Few()
        self._labels: NDArray[np.bool_] | None = None
        self._metrics: dict[str, Any] | None = None
        self._timelines = Timelines(self._decision)
        self._unlike = UnlikeImages("frame" if model.learnt_from_video else "image")
        self._roc: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, row: Row) -> None:
        """Take in the next row."""
        self._unlike.add(row)
        if row.error is not None:
            self._error_count += 1
            if len(self._errors) < _LISTED_ERRORS:
                self._errors.append((row.item.name, row.error))
            return
        if row.item.video is not None or self._model.clip_length > 1:
            self._timelines.add(row)
        self._scores.append(row.score)
        self._flags.append(row.is_anomaly)
        self._kinds.append(row.item.kind)
        number = len(self._scores)
        self._worst.offer(row.score, number, row)
        self._borderline.offer(-abs(row.score - self._decision.threshold), number, row)
        if row.item.anomalous is True and not row.is_anomaly:
            self._missed.offer(-row.score, number, row)
        if row.item.anomalous is False and row.is_anomaly:
            self._false_alarms.offer(row.score, number, row)

    def labelled(self, labels: NDArray[np.bool_], metrics: dict[str, Any], scores: NDArray[np.float32]) -> None:
        """Take in what is known of labelled images: (n,) bool, the metrics, and the scores that they belong to."""
        fpr, tpr, _ = Ranking(scores, labels).roc()
        self._labels, self._metrics, self._roc = labels, metrics, (fpr, tpr)

    def write(self, target: Path) -> Path:
        """Write the page to `report_path(target)`; returns the path."""
        return write_report(self._data(), report_path(target))

    def _data(self) -> ReportData:
        scale = self._model.map_scale
        self._timelines.finish()
        return ReportData(
            title=self._title,
            summary=self._summary(),
            scores=np.array(self._scores, dtype=np.float32),
            is_anomaly=np.array(self._flags, dtype=np.bool_),
            threshold=self._decision.threshold,
            false_alarm_rate=self._decision.false_alarm_rate,
            decision=self._decision.explain(),
            calibration_scores=self._decision.calibration,
            guaranteed=self._decision.guaranteed,
            groups=self._decision.n if self._decision.by_group else None,
            upper_rate=self._decision.upper_rate(),
            crossed=self._decision.crossed,
            labels=self._labels,
            kinds=None if self._labels is None else self._kinds,
            metrics=self._metrics,
            roc=self._roc,
            timelines=timeline_views(self._timelines),
            peaks=self._shown(self._timelines.peaks()),
            worst=self._pictures(self._worst),
            borderline=self._pictures(self._borderline),
            missed=None if self._labels is None else self._pictures(self._missed),
            false_alarms=None if self._labels is None else self._pictures(self._false_alarms),
            how_made=_how_made(self._model),
            errors=self._errors,
            frames=bool(self._timelines.videos),
            map_floor=None if scale is None else scale.floor,
            map_threshold=None if scale is None else scale.threshold,
        )

    def _summary(self) -> list[str]:
        metrics = self._metrics or {}
        unlike = self._unlike.sentences() if self._metrics is None else []  # metrics tell of it in their notes
        lines = [*metrics.get("warnings", []), *metrics.get("notes", []), *unlike]
        if self._error_count > len(self._errors):
            lines.append(f"{self._error_count} files could not be read; the first {_LISTED_ERRORS} are listed.")
        if not self._model.gives_map:
            lines.append(f"{self._model.label} answers for the whole picture and shows no map of where.")
        return lines

    def _pictures(self, few: _Few) -> list[Picture]:
        return self._shown(few.rows())

    def _shown(self, rows: list[Row]) -> list[Picture]:
        pictures = []
        for row in rows:
            image = row.item.read()
            region = self._model.preprocessing.region(*image.shape[:2])
            explanation = self._explanation(row, image)
            pictures.append(
                Picture(
                    name=row.item.name,
                    image=image,
                    score=row.score,
                    p_value=row.p_value,
                    is_anomaly=row.is_anomaly,
                    map=None if row.map is None else smoothed(row.map)[region],
                    kind=row.item.kind,
                    note=_note(row, explanation),
                    explained=None
                    if explanation is None
                    else explained_picture(explanation, shrunk(image, _EXPLAINED), self._model.preprocessing),
                )
            )
        return pictures

    def _explanation(self, row: Row, image: Pixels) -> Explanation | None:
        if self._explainer is None or not row.is_anomaly:
            return None
        prepared = to_float(self._model.preprocessing.prepare(image))
        self._explained += 1
        self._progress("explain", self._explained, self._explained, row.item.name)
        return self._explainer.explain(self._model, prepared, row.item.name)


def _note(row: Row, explanation: Explanation | None) -> str | None:
    explained = None if explanation is None else f"{explanation.explainer}: {explanation.words}"
    return ". ".join(said for said in (row.note, explained) if said) or None


def _how_made(model: FittedModel) -> list[tuple[str, str]]:
    record, spec = model.record, model.preprocessing
    splits, training = record.splits, record.training
    images = "frames" if model.learnt_from_video else "images"
    stages = "; ".join(stage.in_words for stage in training.stages)
    return [
        ("Method", f"{model.label}: {model.method.title} ({model.method.paper})"),
        ("Learnt from", f"{splits.source}: {splits.train.count} {images}"),
        *([("Epoch chosen by", f"{splits.stop.count} other normal {images}")] if splits.stop.count else []),
        (
            "Threshold set by",
            f"the same {images}, each scored by a fit on the other {splits.folds - 1} of {splits.folds} parts"
            if splits.folds
            else f"{splits.calibrate.count} other normal {images}, none of them among those above",
        ),
        ("Input", f"{spec.colour}, {spec.height} × {spec.width} pixels"),
        *([("Looks at", spec.roi.in_words)] if spec.roi else []),
        ("Sees", model.method.seen_through),
        ("Training", f"{stages}, {training.precision} on {training.device}"),
        ("Scored by", model.engine.name),
        ("Settings", ", ".join(f"{name}={value}" for name, value in model.settings.items())),
        ("Fitted on", record.fitted_on),
        *[("Note", note) for note in record.notes],
    ]
