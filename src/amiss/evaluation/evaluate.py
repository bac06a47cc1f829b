"""Evaluating a fitted model on labelled images that it has never seen."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import report
from ..calibration.thresholds import geometric_mean_threshold
from ..data import Collection, Images, open_images
from ..data.clips import video_of
from ..data.masks import check_masks, read_mask
from ..data.preprocessing import Preprocessing
from ..environment import versions
from ..errors import DataError, MaskShapeError
from ..metrics import evaluate, evaluate_videos, false_alarms, localisation
from ..model import FittedModel, Row
from ..progress import Progress, silent
from .doubts import doubts

if TYPE_CHECKING:
    from ..report.collect import ReportCollector


@dataclass(frozen=True)
class Evaluation:
    """Metrics as `amiss eval --json` prints them, and what a report needs, if it was asked for."""

    metrics: dict[str, Any]
    collector: ReportCollector | None


def evaluate_model(
    model: FittedModel,
    labelled: Images,
    *,
    collect: bool = False,
    repeats: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Score labelled images and measure.

    Args:
        model: fitted.
        labelled: see `amiss eval`; images without a label, unreadable ones, and images whose pixels were used to fit
            the model are left out, and the metrics say how many.
        collect: also keep what an HTML report shows.
        repeats, seed: of the bootstrap.
        progress: told what is done of how much.

    Raises:
        DataError: no labelled normal image, or no labelled anomaly, is left; or a mask that cannot belong to its image.
    """
    collection = open_images(labelled, "eval")
    known = collection.where(lambda item: item.anomalous is not None)
    if not len(known):
        raise DataError(
            f"{collection.title} has no labels; put normal videos in good/ and others in folders beside it, or list "
            "anomalous frames in an events.csv"
            if collection.of_video
            else f"{collection.title} has no labels; put normal images in good/ and anomalies in folders beside it, "
            "or name the normal class of a known set (mnist:test:normal=3)"
        )
    if model.gives_map:
        check_masks(known)  # before anything is scored
    fitted_on = model.record.splits.used()
    collector = report.collect.ReportCollector(model, f"Evaluation on {collection.title}") if collect else None
    rows: list[Row] = []
    unlike = report.unlike.UnlikeImages("frame" if known.of_video else "image")
    pixels = _Pixels(known, model.preprocessing)
    used = unreadable = 0
    for done, row in enumerate(model.rows(known), start=1):
        progress("score", done, len(known), "")
        if row.error is not None:
            unreadable += 1
            if collector is not None:
                collector.add(row)
        elif row.digest in fitted_on and row.item.video is None:
            used += 1
        else:
            rows.append(Row(row.item, row.score, row.p_value, row.is_anomaly, row.digest))
            pixels.add(row)
            unlike.add(row)
            if collector is not None:
                collector.add(row)
    learnt = _videos_learnt_from(rows, fitted_on)
    if learnt:
        used += sum(row.item.video in learnt for row in rows)
        rows = [row for row in rows if row.item.video not in learnt]
    _require_both(rows, collection, used)
    labels = np.array([bool(row.item.anomalous) for row in rows])
    scores = np.array([row.score for row in rows], dtype=np.float32)
    flags = np.array([row.is_anomaly for row in rows])
    decision = model.decision
    kinds, groups = [row.item.kind or "anomalous" for row in rows], _groups(model, rows)
    measured = evaluate(
        scores,
        flags,
        labels,
        kinds=kinds,
        groups=groups,
        promised=model.false_alarm_rate,
        repeats=repeats,
        seed=seed,
    )
    for part in (measured, *measured["kinds"].values()):
        part["false_alarm_rate"]["bound95"] = decision.upper_rate()  # whatever the test images say
    if model.clip_length > 1 or any(row.item.video for row in rows):
        videos = [video_of(row.item) for row in rows]
        measured |= evaluate_videos(
            scores, labels, videos, *decision.event_thresholds(), _frame_rate(rows), repeats=repeats, seed=seed
        )
    threshold, mean = geometric_mean_threshold(scores, labels)
    metrics = {
        "data": collection.title,
        "engine": model.engine.name,
        "threshold": decision.threshold,
        "decision": decision.to_dict(),
        **measured,
        "false_alarm_rate_of_groups": _of_groups(rows, model.false_alarm_rate) if decision.by_group else None,
        "localisation": pixels.measured(),
        "warnings": doubts(decision, measured, flags, labels, kinds, _units(rows, groups)),
        "geometric_mean": {"threshold": float(threshold), "value": float(mean), "oracle": True},
        "left_out": {
            "unlabelled": len(collection) - len(known),
            "unreadable": unreadable,
            "used_to_fit": used,
        },
        "notes": [
            *_notes(collection, model, len(collection) - len(known), unreadable, used),
            *pixels.notes(),
            *filter(None, [unlike.looks()]),
        ],
    }
    if collector is not None:
        collector.labelled(labels, metrics, scores)
    return Evaluation(metrics, collector)


def _videos_learnt_from(rows: list[Row], fitted_on: set[str]) -> set[str | None]:
    """Videos of which most frames, or most normal ones, were used to fit; a still camera sees some frame again in any
    video.
    """
    counts: dict[tuple[str, bool], list[int]] = {}
    for row in rows:
        if row.item.video is not None:
            for normal_alone in (False,) if row.item.anomalous else (False, True):
                both = counts.setdefault((row.item.video, normal_alone), [0, 0])
                both[row.digest in fitted_on] += 1
    return {video for (video, _), (new, known) in counts.items() if known > new}


def _groups(model: FittedModel, rows: list[Row]) -> list[str | None] | None:
    """What the bootstrap draws together."""
    if model.clip_length > 1:
        return [video_of(row.item) for row in rows] if len({video_of(row.item) for row in rows}) > 1 else None
    return [row.item.group for row in rows] if any(row.item.group for row in rows) else None


def _units(rows: list[Row], groups: list[str | None] | None) -> list[Hashable]:
    """What is independent of all others: the group of each image, or the image."""
    return [group or index for index, group in enumerate(groups or [None] * len(rows))]


def _of_groups(rows: list[Row], promised: float) -> dict[str, Any]:
    """Of groups of related normal images: how many there are, and which share has any flagged image."""
    flagged: dict[str, bool] = {}
    for row in rows:
        if not row.item.anomalous:
            group = row.item.group or row.digest
            flagged[group] = flagged.get(group, False) or row.is_anomaly
    return {"n": len(flagged), **false_alarms(np.array(list(flagged.values()), dtype=np.bool_), promised)}


def _frame_rate(rows: list[Row]) -> float | None:
    """Frames a second of the first video that tells its times."""
    for one, other in itertools.pairwise(rows):
        if one.item.video == other.item.video and one.item.time is not None and other.item.time is not None:
            return 1 / (other.item.time - one.item.time) if other.item.time > one.item.time else None
    return None


class _Pixels:
    """Maps and masks of images, where the anomalies of a collection have masks."""

    def __init__(self, known: Collection, preprocessing: Preprocessing) -> None:
        self._preprocessing, self._inside = preprocessing, preprocessing.inside
        self._wanted = versions.have("scipy") and any(item.mask is not None for item in known)
        self._maps: list[NDArray[np.float32]] = []
        self._masks: list[NDArray[np.bool_]] = []
        self._without: list[str] = []
        self._normal = 0

    def add(self, row: Row) -> None:
        if not self._wanted or row.map is None:
            return
        mask = np.zeros(row.map.shape, dtype=np.bool_)
        if row.item.anomalous:
            try:
                if row.item.mask is None:
                    raise DataError(f"{row.item.name} has no mask")
                mask = read_mask(row.item.mask, self._preprocessing, row.item.name, row.size)
                if self._inside is not None:
                    mask &= self._inside
            except MaskShapeError:
                raise
            except DataError as error:
                self._without.append(str(error))
                return
        self._normal += not row.item.anomalous
        self._maps.append(row.map)
        self._masks.append(mask)

    def measured(self) -> dict[str, float | int] | None:
        """Pixel AUROC and AU-PRO, and on how many images they rest; None without maps or masks."""
        if not any(mask.any() for mask in self._masks):
            return None
        return {
            **localisation(self._maps, self._masks, self._inside),
            "n_normal": self._normal,
            "n_anomalous": len(self._masks) - self._normal,
            "n_without_mask": len(self._without),
        }

    def notes(self) -> list[str]:
        """About what is missing or marks nothing."""
        anomalies = len(self._masks) - self._normal
        empty = anomalies - sum(mask.any() for mask in self._masks)
        notes = []
        if self._without:
            notes.append(
                f"{len(self._without)} of {anomalies + len(self._without)} anomalies have no mask that can be read, so "
                f"pixels are measured on the other {anomalies}; the first: {self._without[0]}"
            )
        if empty:
            notes.append(f"the masks of {empty} of {anomalies} anomalies mark nothing; their pixels count as normal")
        return notes


def _require_both(rows: list[Row], collection: Collection, used: int) -> None:
    because = f" ({used} were left out because the model was fitted on them)" if used else ""
    noun = "frame" if collection.of_video else "image"
    for anomalous, name, folder in ((False, f"normal {noun}", "good/"), (True, "anomaly", "folders beside good/")):
        if not any(bool(row.item.anomalous) is anomalous for row in rows):
            raise DataError(
                f"{collection.title} holds no labelled {name} that can be used{because}; evaluation needs both, "
                f"so put some that the model has not seen into {folder}"
                + (", or list anomalous frames in events.csv" if collection.of_video else "")
            )


def _notes(collection: Collection, model: FittedModel, unlabelled: int, unreadable: int, used: int) -> list[str]:
    notes, noun = list(collection.notes), "frame" if collection.of_video else "image"
    for count, why in (
        (unlabelled, "had no label"),
        (unreadable, "could not be read"),
        (used, "had been used to fit the model"),
    ):
        if count:
            notes.append(f"{count} {noun}{'s' * (count != 1)} {why} and {'were' if count != 1 else 'was'} left out")
    if not model.decision.guaranteed:
        notes.append(model.decision.explain())
    return notes
