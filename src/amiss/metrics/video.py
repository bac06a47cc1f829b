"""What is measured on labelled video beside the frames: the papers' normalised figure, single videos, and events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..events import Event, Events, causal_mean, find_events, regularity, savitzky_golay
from .bootstrap import bootstrap, plain
from .ranking import Ranking, finite_vector, flags

#: Where a video does not tell its frame rate.
ASSUMED_RATE = 25.0


def evaluate_videos(
    scores: ArrayLike,
    labels: ArrayLike,
    videos: Sequence[str],
    high: float,
    low: float,
    rate: float | None = None,
    repeats: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure frame scores of labelled videos.

    Args:
        scores: (n,) finite, higher = more anomalous; the frames of each video in their order.
        labels: (n,) bool, True = anomalous.
        videos: n names.
        high, low: thresholds of events, see `amiss.events.Events`.
        rate: frames a second; None where unknown, and then 25 are assumed.
        repeats, seed: of the bootstrap, which draws whole videos.

    Returns:
        - `auroc_causal`: of scores averaged over the last 9 frames, which a live system has, too;
        - `auroc_normalised`: of 1 - regularity, scaled by the extremes of each whole video and smoothed over 15 frames
          as in the papers (RAVI 4.1): it has seen the anomalies of the video that it scales, so nothing live can
          reach it;
        - `videos`: for each the AUROC of its frames, None where it holds one class;
        - `events`: how many `labelled` stretches of anomalous frames there are and how many were `detected` (an event
          overlaps them); of the `found` ones, how many are `false` (overlap none), and those by the hour of video.

        AUROCs are `value`, `low`, `high`; those of single videos have no interval.

    >>> found = evaluate_videos([0, 0, 5, 5, 0, 0], [0, 0, 1, 1, 0, 0], ["a"] * 6, high=2, low=1, repeats=10)
    >>> found["videos"]["a"]["value"], found["auroc_normalised"]["value"]
    (1.0, 1.0)
    """
    values, anomalous = finite_vector(scores, "scores"), flags(labels, "labels")
    names = np.array(videos)
    causal, normalised = np.empty_like(values), np.empty_like(values)
    single: dict[str, Any] = {}
    events = {"labelled": 0, "detected": 0, "found": 0, "false": 0}
    for name in dict.fromkeys(videos):
        where = np.flatnonzero(names == name)
        causal[where] = causal_mean(values[where])
        normalised[where] = savitzky_golay(1 - regularity(values[where]))
        auroc = plain(float(Ranking(values[where], anomalous[where]).auroc()))
        single[name] = None if auroc is None else {"value": auroc, "low": None, "high": None}
        true, found = _stretches(anomalous[where]), find_events(values[where], Events(high, low))
        events["labelled"] += len(true)
        events["detected"] += sum(any(_overlap(event, one) for event in found) for one in true)
        events["found"] += len(found)
        events["false"] += sum(not any(_overlap(event, one) for one in true) for event in found)
    hours = len(values) / (rate or ASSUMED_RATE) / 3600
    return {
        "auroc_causal": _auroc(causal, anomalous, videos, repeats, seed),
        "auroc_normalised": _auroc(normalised, anomalous, videos, repeats, seed),
        "videos": single,
        "events": {
            **events,
            "false_per_hour": events["false"] / hours,
            "frames_per_second": rate or ASSUMED_RATE,
            "rate_assumed": rate is None,
        },
    }


def _auroc(
    scores: NDArray[np.float64], anomalous: NDArray[np.bool_], videos: Sequence[str], repeats: int, seed: int
) -> dict[str, float | None]:
    ranking = Ranking(scores, anomalous)
    groups = list(videos) if len(set(videos)) > 1 else None
    return bootstrap(lambda weights: float(ranking.auroc(weights)), anomalous, groups, repeats, seed=seed).as_dict()


def _stretches(anomalous: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last frame of each run of anomalous frames."""
    edges = np.diff(np.concatenate([[0], anomalous.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _overlap(event: Event, stretch: tuple[int, int]) -> bool:
    return event.start <= stretch[1] and stretch[0] <= event.end
