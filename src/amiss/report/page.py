"""From results to one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from numpy.typing import NDArray

from ..environment.files import write_text
from ..errors import DataError, UsageError
from .charts import Histogram, histogram, thinned_curve, tick_labels, ticks
from .heatmap import css_scale, overlay, shrunk, thumbnail_data_uri

#: Longest side of the embedded pictures, in pixels.
_LONGEST = 420
#: Height of the histogram, in pixels; its bars fill this much of it.
_PLOT_HEIGHT, _PLOT_FILLED = 240, 0.92
#: What the page must not hold: control characters, halves of characters from file names that are no text, and marks
#: that turn the direction of writing, by which a file name can pose as another.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DASH = "\N{EN DASH}"

_METRICS = [
    ("auroc", "AUROC", "How reliably anomalous images score above normal ones: 0.5 is chance, 1 is perfect."),
    ("aupr", "AUPR", "Precision averaged over all thresholds; chance is the share of anomalous images."),
    ("eer", "EER", "Error rate where as many anomalous images are missed as normal ones are flagged; lower is better."),
    ("precision", "Precision", "Of the flagged images, the share that really is anomalous."),
    ("recall", "Recall", "Of the anomalous images, the share that was flagged."),
    ("f1", "F1", "Precision and recall in one number, at the threshold used here."),
    ("best_f1", "Best F1", "F1 at the threshold that suits these very images best; flattering, for comparison only."),
]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to show.

    Attributes:
        name: what the image is called, its path as a rule.
        image: (h, w), (h, w, 1) or (h, w, 3); uint8, uint16, or float in [0, 1].
        score: higher = more anomalous.
        p_value: share of normal images that score at least so high, in (0, 1]; None or NaN where unknown.
        is_anomaly: was it flagged?
        map: (h', w') float32 anomaly map, where the method has one.
        kind: class or kind of defect, where known.
        note: a sentence to show with it.
        explained: (h, w, 3) uint8, its explanation as a picture, shown in place of the map.
    """

    name: str
    image: NDArray[Any]
    score: float
    p_value: float | None
    is_anomaly: bool
    map: NDArray[np.float32] | None = None
    kind: str | None = None
    note: str | None = None
    explained: NDArray[np.uint8] | None = None


@dataclass(eq=False)
class ReportData:
    """All that a report tells.

    Attributes:
        title: of the page.
        summary: plain sentences below the headline.
        scores: (n,) float32, higher = more anomalous; rows that are NaN (unreadable images) are left out everywhere.
        is_anomaly: (n,) bool.
        threshold: scores above it are flagged; not finite where nothing can be flagged at the promised rate.
        false_alarm_rate: promised share of normal images that may be flagged, in (0, 1).
        decision: a sentence on how the threshold was set and how sure the promise is.
        calibration_scores: (m,) float32 of the held-out normal images.
        guaranteed: can the false-alarm rate be promised?
        groups: how many groups of related images set the threshold, each by its largest score; the promise is over
            groups then. None where single images set it.
        crossed: was each calibration score given by a fit that had not seen the image, see `Decision`?
        upper_rate: what the long-run false-alarm rate does not exceed, with 95 % confidence, in (0, 1); None where
            unknown.
        labels: (n,) bool, True = anomalous; None where unknown.
        kinds: n kinds, None for an image whose kind is unknown.
        metrics: as `amiss eval` writes them: `auroc`, `aupr`, `eer`, `f1`, `precision`, `recall`, `best_f1`, each
            {value, low, high}; `false_alarm_rate` {promised, achieved, low, high}; `false_alarm_rate_of_groups`, where
            groups set the threshold, with `n` besides; `kinds` with the same by name.
        roc: (false-positive rates, true-positive rates), both (k,) in [0, 1], rising.
        timelines: of videos, as `amiss.report.score_curves` draws them.
        peaks: frames at the peaks of events.
        worst: pictures with the highest scores.
        borderline: pictures with scores close to the threshold.
        missed: anomalous ones that were not flagged; None where labels are unknown.
        false_alarms: normal ones that were flagged; None where labels are unknown.
        how_made: (label, value) pairs on the model and the data.
        errors: (name, reason) of the files that could not be read.
        frames: are the images frames of videos? Then they are called so.
        map_floor, map_threshold: the scale of the maps (see `amiss.report.overlay`); without it no map is shown.
    """

    title: str
    summary: list[str]
    scores: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    threshold: float
    false_alarm_rate: float
    decision: str
    calibration_scores: NDArray[np.float32]
    guaranteed: bool = True
    groups: int | None = None
    upper_rate: float | None = None
    crossed: bool = False
    labels: NDArray[np.bool_] | None = None
    kinds: Sequence[str | None] | None = None
    metrics: Mapping[str, Any] | None = None
    roc: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    timelines: Mapping[str, Any] | None = None
    peaks: list[Picture] = field(default_factory=list)
    worst: list[Picture] = field(default_factory=list)
    borderline: list[Picture] = field(default_factory=list)
    missed: list[Picture] | None = None
    false_alarms: list[Picture] | None = None
    how_made: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    frames: bool = False
    map_floor: float | None = None
    map_threshold: float | None = None


def render(data: ReportData) -> str:
    """The report as the text of one HTML page, pictures embedded (about 30 kB each).

    Raises:
        DataError: arrays that do not fit together, or pictures of another shape.
    """
    kept = _readable(data)
    text = _template().render(_view(kept))
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def write_report(data: ReportData, path: str | Path) -> Path:
    """Write the report to the file `path`, whole or not at all; folders on the way are made. Returns the path.

    Raises:
        UsageError: `path` is a folder.
        DataError: as `render`.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the report's file, such as {path / 'report.html'}")
    write_text(path, render(data))
    return path


@cache
def _template() -> Template:
    source = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(number=_number, measure=_measure, count=_count, percent=_percent)
    return page.from_string(source)


# -- what is shown ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kept:
    """The report's data with only the rows that have a score."""

    data: ReportData
    scores: NDArray[np.floating]
    flagged: NDArray[np.bool_]
    calibration: NDArray[np.floating]
    labels: NDArray[np.bool_] | None
    kinds: list[str | None] | None


def _readable(data: ReportData) -> _Kept:
    scores = np.asarray(data.scores).ravel()
    columns = {"is_anomaly": data.is_anomaly, "labels": data.labels, "kinds": data.kinds}
    for name, column in columns.items():
        if column is not None and len(column) != len(scores):
            raise DataError(f"a report on {len(scores)} scores needs as many {name}, not {len(column)}")
    keep = ~np.isnan(scores)
    calibration = np.asarray(data.calibration_scores).ravel()
    return _Kept(
        data,
        scores[keep],
        np.asarray(data.is_anomaly, dtype=np.bool_).ravel()[keep],
        calibration[~np.isnan(calibration)],
        None if data.labels is None else np.asarray(data.labels, dtype=np.bool_).ravel()[keep],
        None if data.kinds is None else [kind for kind, there in zip(data.kinds, keep, strict=True) if there],
    )


def _view(kept: _Kept) -> dict[str, Any]:
    data = kept.data
    metrics = data.metrics or {}
    calibrated = len(kept.calibration)
    noun = _noun(data)
    draws = calibrated if data.groups is None else data.groups
    enough = (draws + 1) * data.false_alarm_rate >= 1 - 1e-9
    promised = data.guaranteed and enough and math.isfinite(data.threshold)
    scored, flagged = len(kept.scores), int(kept.flagged.sum())
    galleries = [view for view in _galleries(kept) if view is not None]
    return {
        "title": data.title,
        "image": noun,
        "an_image": "a frame" if data.frames else "an image",
        "verdict": _verdict(scored, flagged, math.isfinite(data.threshold), noun),
        "any_flagged": flagged > 0,
        "summary": data.summary,
        "promised": promised,
        "rate": data.false_alarm_rate,
        "expected": _expected(data.false_alarm_rate * scored),
        "decision": data.decision,
        "scored": scored,
        "flagged": flagged,
        "threshold": data.threshold if math.isfinite(data.threshold) else None,
        "calibrated": calibrated,
        "groups": data.groups,
        "group": "video" if data.frames else "group",
        "chart": _chart(kept),
        "outcome": _outcome(kept),
        "achieved": _achieved(metrics, data.upper_rate),
        "crossed": data.crossed,
        "metrics": [
            (name, *_interval(metrics.get(key)), told.replace("image", noun))
            for key, name, told in _METRICS
            if _has(metrics, key)
        ],
        "roc": _roc(data, metrics),
        "kinds": _kinds(kept, metrics),
        "timelines": data.timelines,
        "galleries": galleries,
        "maps_shown": any(card["overlay"] for gallery in galleries for card in gallery["cards"]),
        "map_scale": css_scale(),
        "errors": data.errors,
        "how_made": data.how_made,
    }


def _noun(data: ReportData) -> str:
    return "frame" if data.frames else "image"


def _verdict(scored: int, flagged: int, can_flag: bool, noun: str) -> str:
    if not scored:
        return f"No {noun} could be judged"
    if not can_flag and not flagged:
        return f"{scored:,} {noun}{'s' if scored > 1 else ''} scored, none judged"
    if scored == 1:
        return f"The {noun} is amiss" if flagged else f"Nothing is amiss with the {noun}"
    if not flagged:
        return f"None of {scored:,} {noun}s is amiss"
    if flagged == scored:
        return f"All {scored:,} {noun}s are amiss"
    return f"{flagged:,} of {scored:,} {noun}s {'is' if flagged == 1 else 'are'} amiss"


def _expected(count: float) -> str:
    if count < 0.5:
        return "hardly any"
    return f"about {round(count):,}"


def _outcome(kept: _Kept) -> dict[str, int] | None:
    labels, flagged = kept.labels, kept.flagged
    if labels is None or not len(labels):
        return None
    return {
        "anomalous": int(labels.sum()),
        "normal": int((~labels).sum()),
        "found": int((labels & flagged).sum()),
        "missed": int((labels & ~flagged).sum()),
        "false_alarms": int((~labels & flagged).sum()),
        "passed": int((~labels & ~flagged).sum()),
    }


# -- metrics ---------------------------------------------------------------------------------------------------------


def _finite(value: Any) -> float | None:
    if isinstance(value, (int, float, np.number)) and math.isfinite(value):
        return float(value)
    return None


def _interval(entry: Any) -> tuple[float | None, float | None, float | None]:
    if not isinstance(entry, Mapping):
        return _finite(entry), None, None
    return _finite(entry.get("value")), _finite(entry.get("low")), _finite(entry.get("high"))


def _has(metrics: Mapping[str, Any], key: str) -> bool:
    return _interval(metrics.get(key))[0] is not None


def _achieved(metrics: Mapping[str, Any], upper_rate: float | None) -> dict[str, Any] | None:
    """Of groups of normal images, where the promise is over groups, else of normal images."""
    entry = metrics.get("false_alarm_rate_of_groups") or metrics.get("false_alarm_rate")
    if not isinstance(entry, Mapping) or _finite(entry.get("achieved")) is None:
        return None
    view = {key: _finite(entry.get(key)) for key in ("promised", "achieved", "low", "high")}
    low, promised = view["low"], view["promised"]
    # the promise is an average over calibration sets, and this one may be unlucky
    broken = low is not None and promised is not None and low > max(promised, upper_rate or 0.0)
    return view | {"broken": broken, "groups": entry.get("n"), "of_images": _image_rate(metrics)}


def _image_rate(metrics: Mapping[str, Any]) -> float | None:
    """Which share of the normal images was flagged."""
    entry = metrics.get("false_alarm_rate")
    return _finite(entry.get("achieved")) if isinstance(entry, Mapping) else None


def _roc(data: ReportData, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    points = [] if data.roc is None else thinned_curve(*data.roc)
    if not points:
        return None
    # The plot is 300 x 300 with its lower left corner at (44, 310).
    path = " ".join(f"{44 + 300 * x:.1f},{310 - 300 * y:.1f}" for x, y in points)
    achieved = _image_rate(metrics)
    recall = _interval(metrics.get("recall"))[0]
    here = None
    if achieved is not None and recall is not None:
        here = {"x": f"{44 + 300 * achieved:.1f}", "y": f"{310 - 300 * recall:.1f}", "rate": achieved, "recall": recall}
    area = _interval(metrics.get("auroc"))
    return {"path": path, "here": here, "auroc": area if area[0] is not None else None}


def _kinds(kept: _Kept, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    by_kind = metrics.get("kinds")
    by_kind = by_kind if isinstance(by_kind, Mapping) else {}
    known = [kind for kind in kept.kinds or [] if kind is not None]
    names = sorted(set(known) | {str(name) for name in by_kind})
    if not names:
        return None
    kinds = np.array([kind if kind is not None else "" for kind in kept.kinds or []], dtype=object)
    columns = [(key, name) for key, name, _ in _METRICS if any(_has(by_kind.get(kind) or {}, key) for kind in names)]
    rows = []
    for kind in names:
        where = kinds == kind if known else np.zeros(len(kept.scores), dtype=np.bool_)
        entries = by_kind.get(kind) or {}
        rows.append(
            {
                "name": kind,
                "count": int(where.sum()) if known else None,
                "flagged": int(kept.flagged[where].sum()) if known else None,
                "median": float(np.median(kept.scores[where])) if where.any() else None,
                "values": [_interval(entries.get(key)) for key, _ in columns],
            }
        )
    return {"rows": rows, "columns": [name for _, name in columns], "counted": bool(known)}


# -- the histogram ---------------------------------------------------------------------------------------------------


def _chart(kept: _Kept) -> dict[str, Any] | None:
    counted = histogram(kept.scores, kept.calibration, kept.data.threshold, kept.labels)
    if counted is None:
        return None
    low, high = float(counted.edges[0]), float(counted.edges[-1])
    # The outline shows as many images as the bars it is compared with: the normal ones, where those are known.
    compared = int((~kept.labels).sum()) if kept.labels is not None else 0
    compared = compared or len(kept.scores) or len(kept.calibration)
    outline = counted.calibration.astype(np.float64) * (compared / max(len(kept.calibration), 1))
    heights = ticks(0.0, float(max(counted.counts.max(), outline.max(), 1)), most=4)
    top = float(max(counted.counts.max(), outline.max(), heights[-1]))
    scale = _PLOT_HEIGHT * _PLOT_FILLED / top
    places = ticks(low, high, most=7)
    if max(map(len, tick_labels(places))) > 5:
        places = ticks(low, high, most=4)

    def across(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.3f}"

    bars = [bar for place in range(len(counted.counts)) for bar in _bars(counted, place, scale)]
    threshold = kept.data.threshold
    return {
        "height": _PLOT_HEIGHT,
        "bars": bars,
        "outline": _outline(outline, scale) if len(kept.calibration) else None,
        "x_ticks": list(zip(map(across, places), tick_labels(places), strict=True)),
        "y_ticks": [
            (f"{_PLOT_HEIGHT - value * scale:.1f}", f"{value:,.0f}") for value in heights if value == round(value)
        ],
        "threshold": across(threshold) if math.isfinite(threshold) else None,
        "threshold_right": math.isfinite(threshold) and (threshold - low) > 0.55 * (high - low),
        "labelled": counted.anomalous is not None,
        "rows": _rows(counted),
        "clipped": counted.open_above or counted.open_below,
    }


def _bars(counted: Histogram, place: int, scale: float) -> list[dict[str, str]]:
    """One bar for a bin, or normal below anomalous where labels are known; in a box of 1000 by `_PLOT_HEIGHT`."""
    width = 1000 / len(counted.counts)
    total = int(counted.counts[place])
    parts = [("flagged" if place >= counted.flagged_from else "passed", total)]
    if counted.anomalous is not None:
        anomalous = int(counted.anomalous[place])
        parts = [("normal", total - anomalous), ("anomalous", anomalous)]
    bars, base = [], float(_PLOT_HEIGHT)
    for look, count in parts:
        if not count:
            continue
        height = max(count * scale, 2.0)
        base -= height
        bars.append(
            {
                "look": look,
                "x": f"{place * width + 0.06 * width:.2f}",
                "y": f"{base:.2f}",
                "width": f"{0.88 * width:.2f}",
                "height": f"{height:.2f}",
            }
        )
    return bars


def _outline(heights: NDArray[np.float64], scale: float) -> str:
    width = 1000 / len(heights)
    steps = [f"M0 {_PLOT_HEIGHT}"]
    for place, height in enumerate(heights):
        steps.append(f"V{_PLOT_HEIGHT - height * scale:.2f}H{(place + 1) * width:.2f}")
    return "".join(steps) + f"V{_PLOT_HEIGHT}"


def _rows(counted: Histogram) -> list[dict[str, Any]]:
    edges = [_number(float(edge)) for edge in _distinct(counted.edges)]
    rows = []
    for place in range(len(counted.counts)):
        span = f"{edges[place]} to {edges[place + 1]}"
        if place == 0 and counted.open_below:
            span = f"up to {edges[1]}"
        elif place == len(counted.counts) - 1 and counted.open_above:
            span = f"above {edges[place]}"
        anomalous = None if counted.anomalous is None else int(counted.anomalous[place])
        count, calibration = int(counted.counts[place]), int(counted.calibration[place])
        if count or calibration:
            rows.append(
                {
                    "span": span,
                    "count": count,
                    "anomalous": anomalous,
                    "calibration": calibration,
                    "flagged": place >= counted.flagged_from,
                }
            )
    return rows


def _distinct(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges without the dust of rounding: an edge at 1e-17 between steps of 0.1 is zero."""
    return np.where(np.abs(edges) < 1e-9 * (edges[-1] - edges[0]), 0.0, edges)


# -- pictures --------------------------------------------------------------------------------------------------------


def _galleries(kept: _Kept) -> list[dict[str, Any] | None]:
    data = kept.data
    noun = _noun(data)
    peaks = _gallery(
        data, "peaks", "Peaks of events", "The frame with the highest score of each event.", data.peaks, None
    )
    return [
        peaks,
        _gallery(data, "worst", f"Worst {noun}s", "The highest scores, highest first.", data.worst, None),
        _gallery(
            data,
            "borderline",
            f"Borderline {noun}s",
            "Scores closest to the threshold: here the decision could most easily have gone the other way.",
            data.borderline,
            None,
        ),
        _gallery(
            data,
            "missed",
            f"Missed {noun}s",
            f"Anomalous {noun}s that were not flagged.",
            data.missed,
            f"No anomalous {noun} was missed.",
        ),
        _gallery(
            data,
            "false-alarms",
            "False alarms",
            f"Normal {noun}s that were flagged.",
            data.false_alarms,
            f"No normal {noun} was flagged.",
        ),
    ]


def _gallery(
    data: ReportData, anchor: str, title: str, lead: str, pictures: list[Picture] | None, when_empty: str | None
) -> dict[str, Any] | None:
    if pictures is None or (not pictures and when_empty is None):
        return None
    cards = [_card(data, picture) for picture in pictures]
    return {"anchor": anchor, "title": title, "lead": lead if cards else when_empty, "cards": cards}


def _card(data: ReportData, picture: Picture) -> dict[str, Any]:
    small = shrunk(picture.image, _LONGEST)
    over = None
    if picture.explained is not None:
        over = thumbnail_data_uri(picture.explained, _LONGEST)
    elif picture.map is not None and data.map_floor is not None and data.map_threshold is not None:
        over = thumbnail_data_uri(overlay(small, picture.map, data.map_threshold, data.map_floor), _LONGEST)
    cut = max(picture.name.rstrip("/\\").rfind("/"), picture.name.rstrip("/\\").rfind("\\")) + 1
    return {
        "name": picture.name,
        "folder": picture.name[:cut],
        "file": picture.name[cut:],
        "image": thumbnail_data_uri(small, _LONGEST),
        "overlay": over,
        "score": picture.score,
        "p_value": _probability(picture.p_value),
        "is_anomaly": bool(picture.is_anomaly),
        "kind": picture.kind,
        "note": picture.note,
    }


# -- numbers as text -------------------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    """Four significant digits.

    >>> _number(0.123456), _number(-2.0), _number(None), _number(float("inf"))
    ('0.1235', '−2', '–', '∞')
    """
    if value is None or math.isnan(value):
        return _DASH
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _measure(value: float | None) -> str:
    """A measure in [0, 1], to three decimals.

    >>> _measure(0.8), _measure(None)
    ('0.800', '–')
    """
    return _DASH if value is None or not math.isfinite(value) else f"{value:.3f}"


def _count(value: int | None) -> str:
    return _DASH if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    r"""A share as percent, to three digits.

    >>> _percent(0.01), _percent(0.12345), _percent(None)
    ('1\xa0%', '12.3\xa0%', '–')
    """
    if value is None or not math.isfinite(value):
        return _DASH
    return f"{100 * value:.3g}\N{NO-BREAK SPACE}%" if value else "0\N{NO-BREAK SPACE}%"


def _probability(value: float | None) -> str:
    """A p-value, to three digits.

    >>> _probability(0.012345), _probability(1e-9), _probability(float("nan"))
    ('0.0123', 'under 0.0001', '–')
    """
    if value is None or not math.isfinite(value):
        return _DASH
    return "under 0.0001" if value < 1e-4 else f"{value:.3g}"
