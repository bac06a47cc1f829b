"""A detector: a recipe that can be fitted, with the conventions of scikit-learn. What it has learnt is `model_`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..calibration import Decision, MapScale, Region
from ..data import Images
from ..data.preprocessing import Preprocessing
from ..engines import Engine
from ..errors import NotFittedError
from ..fitting.cross import train_across
from ..fitting.fit import fit
from ..fitting.training import train
from ..model.fitted import FittedModel, Scores
from ..progress import Progress, silent
from ..recipe.recipe import Recipe, Scorer

if TYPE_CHECKING:
    from torch import nn

    from ..explain.explanation import Explanation
    from ..recipe.context import FitContext, Trained


@dataclass(kw_only=True, eq=False)
class Detector(Recipe[Scorer]):
    """A visual anomaly detector; see the methods for what each learns.

    Constructors only store; `fit` checks. What fitting learns is the fitted model `model_`, which scores, decides,
    explains and is kept without the detector. The attributes that end in an underscore are read from it:
    `preprocessing_`, `calibration_scores_` (by engine, sorted), `map_scale_`, `decision_`, `engine_`, `splits_`,
    `training_`, `notes_`.
    """

    def fit(
        self,
        x: Images,
        y: object = None,
        *,
        anomalies: Images | None = None,
        validation: Images | None = None,
        work_dir: str | Path | None = None,
        resume: bool = False,
        progress: Progress = silent,
    ) -> Self:
        """Learn what normal images look like.

        Args:
            x: normal images; of a labelled set only the normal ones are used. 70 % train, 10 % choose the epoch, 20 %
                (at most 1,000) calibrate the decision.
            y: ignored, for scikit-learn's sake.
            anomalies: labelled anomalies to learn from, for methods that can; items labelled normal are left out.
            validation: labelled images of both kinds whose AUROC chooses the epoch, as some papers do. The record then
                says that the choice has seen anomalies.
            work_dir: folder for a checkpoint after every epoch.
            resume: go on from `work_dir`'s checkpoint to the result of an unbroken run.
            progress: told what is done of how much.

        Returns: itself, fitted. Warns with `DegenerateTrainingWarning` where training looks wrong; the same sentences
        are kept in `notes_`.

        Raises:
            UsageError: a setting out of range, or anomalies for a method that cannot use any.
            DataError: too few images, or images that cannot be read.
            MissingExtraError: torch or Lightning Fabric is not installed.
            TrainingError: a loss that is not finite, or a resume with other data or settings.
        """
        folder = Path(work_dir) if work_dir else None
        # set last: a fit that fails leaves an older one whole
        self.model_ = fit(
            self, x, anomalies=anomalies, validation=validation, work_dir=folder, resume=resume, progress=progress
        )
        return self

    def train(self, context: FitContext) -> Trained:
        return train(self, context)

    def train_across(self, context: FitContext) -> Trained:
        return train_across(self, context)

    def set_params(self, **settings: Any) -> Self:
        """Change settings by name. They hold for the next fit; `false_alarm_rate` also decides from now on.

        Raises:
            UsageError: an unknown one, or a value it cannot take.
        """
        super().set_params(**settings)
        model: FittedModel | None = getattr(self, "model_", None)
        if model is not None and "false_alarm_rate" in settings:
            self.model_ = model.with_false_alarm_rate(self.false_alarm_rate)
        return self

    def require_fitted(self) -> FittedModel:
        """What has been learnt. Raises `NotFittedError` where `fit` did not come before."""
        model: FittedModel | None = getattr(self, "model_", None)
        if model is None:
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted; call fit first (a model file is read by amiss.load)"
            )
        return model

    # -- what the fitted model does ------------------------------------------------------------------------------------

    def score(self, x: Images, *, progress: Progress = silent) -> Scores:
        """Score images; see `FittedModel.score`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().score(x, progress=progress)

    def predict(self, x: Images) -> NDArray[np.bool_]:
        """(n,) bool, True = anomalous; see `FittedModel.predict`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().predict(x)

    def anomaly_map(self, x: Images) -> NDArray[np.float32]:
        """(n, h, w) float32 maps; see `FittedModel.anomaly_map`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().anomaly_map(x)

    def regions(self, x: Images) -> list[list[Region]]:
        """Where each image is amiss; see `FittedModel.regions`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().regions(x)

    def explain(self, x: Images, with_: str = "occlusion", **settings: Any) -> Explanation:
        """Why one image has its score; see `FittedModel.explain`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().explain(x, with_, **settings)

    def save(self, path: str | Path) -> Path:
        """Write a model file (see `amiss.load`), whole or not at all; returns its path. Raises `NotFittedError`."""
        self.model_ = self.require_fitted().exported()  # what is written twice is exported once
        return self.model_.save(path)

    def use_engine(self, name: str) -> Self:
        """Score on `auto`, `torch`, `torch-bfloat16` or `onnxruntime` from here on."""
        self.model_ = self.require_fitted().on(name)
        return self

    def torch_scorer(self) -> nn.Module:
        """The fitted scorer as a torch module; see `FittedModel.torch_scorer`. Raises `NotFittedError` before `fit`."""
        return self.require_fitted().torch_scorer()

    # -- what is known of it -------------------------------------------------------------------------------------------

    @property
    def preprocessing_(self) -> Preprocessing:
        """From pixels of any size to what the scorer sees."""
        return self.require_fitted().preprocessing

    @property
    def calibration_scores_(self) -> dict[str, NDArray[np.float32]]:
        """Scores (n,) of held-out normal images, sorted, by the name of the engine."""
        return {name: np.sort(scores) for name, scores in self.require_fitted().calibration.scores.items()}

    @property
    def map_scale_(self) -> MapScale | None:
        """On which maps are shown, where there are any."""
        return self.require_fitted().map_scale

    @property
    def decision_(self) -> Decision:
        """By the calibration scores of the engine in use, at the false-alarm rate that was asked for."""
        return self.require_fitted().decision

    @property
    def engine_(self) -> Engine:
        """What runs the scorer."""
        return self.require_fitted().engine

    @property
    def splits_(self) -> dict[str, Any]:
        """What was used for what: `train`, `stop`, `calibrate`, each with its `count`, `digest` and `images`."""
        return self.require_fitted().record.splits.model_dump(exclude_none=True)

    @property
    def training_(self) -> dict[str, Any]:
        """`device`, `precision` and `stages`, each with its epochs and the figures of each epoch."""
        return self.require_fitted().record.training.model_dump()

    @property
    def notes_(self) -> list[str]:
        """Sentences to be read beside any figure: files left out, training that looked wrong."""
        return list(self.require_fitted().record.notes)
