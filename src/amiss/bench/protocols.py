"""How a cell is measured: one function a protocol, from the cell to its figures and what they cost."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Collection
from ..data.clips import video_of
from ..data.protocols import few_labels as some_labels
from ..data.protocols import inlier_categories, outliers
from ..data.protocols import one_anomalous as with_one_anomalous
from ..environment.machine import PeakMemory
from ..errors import DegenerateTrainingWarning
from ..evaluation import evaluate_model
from ..events import regularity, savitzky_golay
from ..metrics import Ranking, confusion_metrics
from ..settings import as_text, values_of
from .cells import Cell

Figures = dict[str, float | None]
Measured = dict[str, Any]

#: Draws of the bootstrap; intervals on the pages come from seeds, so a few do.
_REPEATS = 20
_PERCENT = (10, 20, 30, 40, 50)


def measure(cell: Cell) -> Measured:
    """Fit and measure a cell.

    Returns:
        - `figures`: a number, or None where it cannot be told, by name; those of `amiss.bench.table.MEASURES`, and
          `kind:NAME`; shares are between 0 and 1;
        - what it cost: `fit_seconds`, `images_per_second`, `peak_mb` (None where the system does not say);
        - what was fitted: `images`, `parameters`, `epochs_run` and `epochs_chosen` of each stage, `device`,
          `precision`, `all_settings`, `notes`.

    Raises:
        MissingDataError: the data set is not here.
        AmissError: whatever a fit raises.
    """
    return _PROTOCOLS[cell.protocol](cell)


def one_class(cell: Cell) -> Measured:
    """`case` is normal in training; in the test set it is, and everything else is anomalous."""
    detector, cost = _fitted(cell, cell.open(f"train:normal={cell.case}"))
    figures, speed = _scored(detector, cell.open(f"test:normal={cell.case}"))
    return {"figures": figures} | cost | speed


def one_anomalous(cell: Cell) -> Measured:
    """`case` is the anomaly, everything else normal, divided 80:20; option `images`: so many of the normal ones."""
    protocol = with_one_anomalous(_pool(cell), cell.case, cell.seed)
    detector, cost = _fitted(cell, protocol.train, protocol.anomalies)
    figures, speed = _scored(detector, protocol.test)
    return {"figures": figures, "labelled": len(protocol.anomalies or ()) if cell.labels else 0} | cost | speed


def few_labels(cell: Cell) -> Measured:
    """`case` labelled anomalies of the kind `shown`; the kind `unseen` is anomalous, too, and never shown.

    As `one_anomalous`, with the options `shown` and `unseen` beside `images`.
    """
    shown, unseen = cell.options["shown"], cell.options["unseen"]
    protocol = with_one_anomalous(_pool(cell), shown, cell.seed)
    tested = {item.name for item in protocol.test}
    pool = cell.open(f"train:anomalous={shown}")
    labelled = pool.where(lambda item: item.kind == shown)[:1000].where(lambda item: item.name not in tested)
    labels = some_labels(labelled, min(int(cell.case), len(labelled)), cell.seed)
    train = protocol.train.where(lambda item: item.kind != unseen)
    detector, cost = _fitted(cell, train, labels if len(labels) else None)
    figures: Figures = {}
    scores, kinds = detector.score(protocol.test).scores, np.array([item.kind for item in protocol.test])
    for name, kind in (("shown", shown), ("unseen", unseen)):
        keep = (kinds == kind) | ~np.isin(kinds, (shown, unseen))
        figures[name] = _auroc(scores[keep], kinds[keep] == kind)
    return {"figures": figures | {"auroc": figures["shown"]}, "labelled": len(labels)} | cost


def outlier_shares(cell: Cell) -> Measured:
    """As `one_class`, and F1 where outliers are 10 to 50 % of the test images: either class positive, at the calibrated
    threshold, and for G2D also at the paper's D(x) of 0.5.
    """
    detector, cost = _fitted(cell, cell.open(f"train:normal={cell.case}"))
    test = cell.open(f"test:normal={cell.case}")
    figures, speed = _scored(detector, test)
    for percent in _PERCENT:
        part = outliers(test, percent / 100, cell.seed)
        result, labels = detector.score(part), part.labels()
        decisions = {"": result.is_anomaly}
        if cell.method == "g2d":  # scores are log-odds
            decisions["_at_half"] = result.scores > 0
        for at, flagged in decisions.items():
            figures[f"f1_anomalous_{percent}{at}"] = confusion_metrics(flagged, labels)["f1"]
            figures[f"f1_normal_{percent}{at}"] = confusion_metrics(~flagged, ~labels)["f1"]
    return {"figures": figures} | cost | speed


def split(cell: Cell) -> Measured:
    """The set's own division: `train` to fit and `test` to measure, or what the options `train` and `test` name; a case
    other than `all` is the first half of a split's name, as in `bottle-train`. Labelled anomalies are those of `train`.
    """
    before = "" if cell.case == "all" else f"{cell.case}-"
    train = cell.open(before + cell.options.get("train", "train"))
    detector, cost = _fitted(cell, train.normal, train.where(lambda item: bool(item.anomalous)))
    test = cell.open(before + cell.options.get("test", "test"))
    figures, speed = _scored(detector, test, by_kind=True)
    return {"figures": figures} | cost | speed


def categories(cell: Cell) -> Measured:
    """`case` categories drawn at random are normal, and clutter is not (G2D 4.2); option `clutter`: its kind."""
    protocol = inlier_categories(cell.open("all"), int(cell.case), cell.options["clutter"], cell.seed)
    detector, cost = _fitted(cell, protocol.train)
    figures, speed = _scored(detector, protocol.test)
    return {"figures": figures} | cost | speed


def video(cell: Cell) -> Measured:
    """Frames of videos: raw scores, as a live system has them, and scaled by the extremes of each whole test video, as
    the papers do. A case other than `all` is the first half of a split's name, as in `entrance-train`.
    """
    before = "" if cell.case == "all" else f"{cell.case}-"
    detector, cost = _fitted(cell, cell.open(f"{before}train"))
    test = cell.open(f"{before}test")
    metrics = evaluate_model(detector.model_, test, repeats=_REPEATS).metrics
    start = time.perf_counter()
    scores = detector.score(test).scores.astype(np.float64)
    speed = len(test) / (time.perf_counter() - start)
    labels, videos = test.labels(), np.array([video_of(item) for item in test])
    scaled = _papers_scaling(scores, videos)
    others = ~np.isin(videos, cell.choosing)
    places = metrics["localisation"]
    figures: Figures = {
        "auroc": metrics["auroc"]["value"],
        "eer": metrics["eer"]["value"],
        "auroc_causal": metrics["auroc_causal"]["value"],
        "auroc_normalised": metrics["auroc_normalised"]["value"],
        "eer_normalised": float(Ranking(scaled, labels).eer()),
        "auroc_others": _auroc(scores[others], labels[others]) if cell.choosing else None,
        "auroc_normalised_others": _auroc(scaled[others], labels[others]) if cell.choosing else None,
        "pixel_auroc": None if places is None else places["pixel_auroc"],
        "events_found": metrics["events"]["detected"],
        "events_false": metrics["events"]["false"],
    }
    return {
        "figures": figures,
        "videos": {name: each and each["value"] for name, each in metrics["videos"].items()},
        "images_per_second": speed,
    } | cost


def parameters(cell: Cell) -> Measured:
    """Weights of the network that the method builds for colour images of 128x128; nothing is fitted. Those of peepholes
    are not counted, as in the thesis (see `tests/networks/test_convolutional_recurrent.py`)."""
    scorer = cell.detector().build((3, 128, 128))
    counted = [value for name, value in scorer.named_parameters() if "peepholes" not in name]
    return {"figures": {"parameters": float(sum(value.numel() for value in counted))}}


_PROTOCOLS: dict[str, Callable[[Cell], Measured]] = {
    each.__name__: each
    for each in (one_class, one_anomalous, few_labels, outlier_shares, split, categories, video, parameters)
}


def _pool(cell: Cell) -> Collection:
    """The training images, or so many of them, drawn at random, as the option `images` says."""
    pool = cell.open("train:anomalous=0")
    most = cell.options.get("images", len(pool))
    chosen = np.sort(np.random.default_rng(cell.seed).permutation(len(pool))[:most])
    return Collection([pool[int(index)] for index in chosen], cell.data)


def _fitted(cell: Cell, train: Collection, anomalies: Collection | None = None) -> tuple[Any, Measured]:
    """A fit with what it cost, and what was fitted."""
    memory, start = PeakMemory(), time.perf_counter()
    given = {"anomalies": anomalies} if cell.labels and anomalies is not None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTrainingWarning)  # the notes keep them
        detector = cell.detector().fit(train, **given)
    seconds = time.perf_counter() - start
    stages = detector.training_["stages"]
    return detector, {
        "fit_seconds": round(seconds, 2),
        "peak_mb": memory.megabytes(),
        "images": detector.splits_["train"]["count"],
        "parameters": sum(value.numel() for value in detector.model_.torch_scorer().state_dict().values()),
        "epochs_run": [stage["epochs"] for stage in stages],
        "epochs_chosen": [stage["chosen_epoch"] for stage in stages],
        "device": detector.training_["device"],
        "precision": detector.training_["precision"],
        "all_settings": as_text(type(detector), values_of(detector)),
        "notes": list(detector.notes_),
    }


def _scored(detector: Any, test: Collection, by_kind: bool = False) -> tuple[Figures, Measured]:
    """Figures of a labelled collection, and images a second from the decoder to the decision."""
    start = time.perf_counter()
    result = detector.score(test)
    speed = {"images_per_second": round(len(test) / (time.perf_counter() - start), 1)}
    labels = test.labels()
    ranking = Ranking(result.scores, labels)
    figures: Figures = {
        "auroc": float(ranking.auroc()),
        "eer": float(ranking.eer()),
        "f1": confusion_metrics(result.is_anomaly, labels)["f1"],
        "false_alarm_rate": float(result.is_anomaly[~labels].mean()),
        "recall": float(result.is_anomaly[labels].mean()),
    }
    if hasattr(detector, "path_scores"):
        paths = {path: _auroc(scores, labels) for path, scores in detector.path_scores(test).items()}
        figures |= {f"auroc_{path}": value for path, value in paths.items()}
        figures["auroc_oracle"] = max(value for value in paths.values() if value is not None)
    if by_kind:
        kinds = {}
        for kind in sorted({item.kind or "anomaly" for item in test if item.anomalous}):
            keep = np.array([not item.anomalous or (item.kind or "anomaly") == kind for item in test])
            kinds[f"kind:{kind}"] = _auroc(result.scores[keep], labels[keep])
        figures |= kinds
        figures["kinds_mean"] = float(np.mean([value for value in kinds.values() if value is not None]))
    return figures, speed


def _papers_scaling(scores: NDArray[np.float64], videos: NDArray[Any]) -> NDArray[np.float64]:
    """Scores (n,) scaled by the extremes of each whole video and smoothed over 15 frames (RAVI 4.1)."""
    scaled = np.empty_like(scores)
    for name in dict.fromkeys(videos.tolist()):
        where = videos == name
        scaled[where] = savitzky_golay(1 - regularity(scores[where]))
    return scaled


def _auroc(scores: NDArray[Any], anomalous: NDArray[np.bool_]) -> float | None:
    """None where there is one class alone."""
    value = float(Ranking(scores, anomalous).auroc())
    return None if np.isnan(value) else value
