"""Figures of scores and of what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Images, open_images
from ..detectors.detector import Detector
from ..errors import DataError, UsageError
from ..model import FittedModel
from .drawing import ANOMALOUS, NORMAL, fitted, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_histograms(model: FittedModel | Detector[Any], labelled: Images, bins: int = 40) -> Figure:
    """Scores of normal images and of anomalies, with the threshold in use (ADNL figs. 5, 8).

    Raises:
        DataError: no labels.
    """
    model = fitted(model)
    collection = open_images(labelled, "eval")
    known = collection.where(lambda item: item.anomalous is not None)
    if not len(known):
        raise DataError(f"{collection.title} has no labels; a histogram of both classes needs them")
    scores, labels = model.score(known).scores, known.labels()
    figure = new_figure(6.4, 3.2)
    axis = figure.subplots()
    low, high = np.quantile(scores[np.isfinite(scores)], [0, 0.995])
    edges = np.linspace(float(low), float(high), bins + 1).tolist()
    for anomalous, name, colour in ((False, "normal", NORMAL), (True, "anomalous", ANOMALOUS)):
        axis.hist(
            np.clip(scores[labels == anomalous], edges[0], edges[-1]),
            edges,
            density=True,
            alpha=0.6,
            color=colour,
            label=name,
        )
    axis.axvline(model.decision.threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    axis.set_xlabel("score")
    axis.set_ylabel("density")
    axis.legend(loc="upper right", frameon=False)
    return figure


def auroc_by_epoch(models: Mapping[str, FittedModel | Detector[Any]]) -> Figure:
    """AUROC on labelled validation images after every epoch (ADNL figs. 3, 4; thesis fig. 4.7).

    The models must have been fitted with `validation=...`.

    Raises:
        UsageError: one was not.
    """
    figure = new_figure(6.4, 3.2)
    axis = figure.subplots()
    for name, model in models.items():
        figures = [each for stage in fitted(model).record.training.stages for each in stage.figures]
        curve = [each["validation AUROC"] for each in figures if "validation AUROC" in each]
        if not curve:
            raise UsageError(f"{name} was fitted without validation images, so no AUROC by epoch is known")
        axis.plot(range(1, len(curve) + 1), curve, marker=".", label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel("AUROC on validation images")
    axis.legend(loc="upper right", frameon=False)
    return figure
