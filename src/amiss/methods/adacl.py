"""ADACL: augment to detect anomalies with continuous labelling (Khazaie's thesis, chapter 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import anomalies as synthetic
from .. import networks, objectives, training
from ..anomalies.kinds import WHOLE, whole_kinds
from ..detectors.detector import Detector
from ..errors import UsageError
from ..lazy import torch
from ..metrics import Ranking
from ..settings import Words, setting

#: Held-out normals whose created anomalies choose the epoch (thesis, section 4.4).
_VALIDATION_IMAGES = 150


@dataclass(kw_only=True, eq=False)
class ADACL(Detector["networks.regressor.RegressionScorer"]):
    """A small regressor learns to tell normal images from anomalies created out of them.

    Each normal image gives one created anomaly an epoch, by a kind chosen at random; labels are drawn from
    [0, normal_high] and [anomaly_low, 1]. The network is trained and scores without the thesis's clip to [0, 1], whose
    gradient is zero outside and which makes scores tie; clipping is for display. The weights are the mean of those of
    the last four fifths of the epochs. The thesis chooses an epoch by the AUROC over 150 held-out normals and anomalies
    created from them (averaged=0), but these the network comes to know by heart. No real anomaly is seen either way.
    AdamW with one cycle of the learning rate (the thesis: "variations of Adam", "cyclic learning rate", neither
    specified).

    Known weakness (thesis, section 5.3): small local defects.

    >>> ADACL(seed=1).get_params()["anomaly_low"]
    0.7
    """

    title: ClassVar[str] = "Augment to detect anomalies with continuous labelling"
    paper: ClassVar[str] = "Khazaie 2022, thesis, ch. 4"
    family: ClassVar[str] = "tells created anomalies apart"
    good_for: ClassVar[str] = "another kind of object, a wrong part or orientation; fast to fit; gives no map"

    epochs: int = setting(10, "most passes through the training images; the thesis: 10 (MNIST), 15 (CIFAR-10)", low=1)
    normal_high: float = setting(0.3, "X_L: labels of normals are drawn from 0 to this", low=0.0, high=1.0)
    anomaly_low: float = setting(0.7, "X_H: labels of created anomalies are drawn from this to 1", low=0.0, high=1.0)
    loss: str = setting("mse", "mse, or bce (the thesis's ablation)", choices=("mse", "bce"))
    output: str = setting("clip", "clip: linear, clipped for display; sigmoid (ablation)", choices=("clip", "sigmoid"))
    normalisation: str | None = setting(
        "group", "behind every convolution: none, batch or group", choices=(None, "batch", "group"), before="batch"
    )
    averaged: float = setting(
        0.8,
        "share of the epochs, the last ones, whose weights are averaged; 0: the epoch of the best AUROC on created "
        "anomalies",
        low=0.0,
        high=1.0,
        before=0.0,
    )
    anomalies: tuple[str, ...] = setting(
        WHOLE, "kinds of created anomalies, with commas between", kind=Words(WHOLE, least=1)
    )
    patience: int = setting(10, "epochs without a better AUROC on created anomalies before training stops", low=1)
    fewest_steps: int = setting(50, "an epoch passes through few images several times, to this many steps", low=1)

    def shortest_settings(self) -> dict[str, object]:
        return {"epochs": 1, "fewest_steps": 2}

    @classmethod
    def varied_settings(cls, vary: tuple[str, ...]) -> dict[str, object]:
        return {"anomalies": whole_kinds(vary)}

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.regressor.RegressionScorer:
        return networks.regressor.RegressionScorer(networks.regressor.Regressor(*shape, self.normalisation))

    def stages(self, scorer: networks.regressor.RegressionScorer) -> Sequence[training.stage.Stage]:
        def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
            return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3 * self.learning_rate, total_steps=steps)

        def terms(batch: training.stage.Batch) -> dict[str, torch.Tensor]:
            return {"regression loss": self._regression_loss(scorer, batch)}

        def monitor(held: training.stage.Held) -> float:
            return self._validation_auroc(scorer, held.images[:_VALIDATION_IMAGES], held.generator)

        schedule = training.stage.Schedule(one_cycle, "step")
        regressor = training.stage.Player("regressor", scorer.parameters(), terms, self.learning_rate, schedule)
        return [
            training.stage.Stage(
                "fit",
                [regressor],
                self.epochs,
                monitor,
                "max",
                self.patience,
                self.fewest_steps,
                keep="mean" if self.averaged else "best",
                left_out=min(self.epochs - 1, round((1 - self.averaged) * self.epochs)),
            )
        ]

    def check(self) -> None:
        super().check()
        if self.normal_high >= self.anomaly_low:
            raise UsageError(
                f"normal_high ({self.normal_high}) must be below anomaly_low ({self.anomaly_low}), or labels overlap"
            )

    def _regression_loss(
        self, scorer: networks.regressor.RegressionScorer, batch: training.stage.Batch
    ) -> torch.Tensor:
        created = synthetic.created.create_anomalies(batch.images, batch.generator, self.anomalies)
        images = torch.cat([batch.images, created]).contiguous(memory_format=torch.channels_last)
        anomalous = (torch.arange(len(images)) >= len(created)).to(images.device)
        labels = objectives.continuous_labels.draw_labels(
            anomalous, batch.generator, self.normal_high, self.anomaly_low
        )
        outputs = scorer(images)["score"]
        if self.loss == "bce":
            return torch.nn.functional.binary_cross_entropy_with_logits(outputs, labels)
        return torch.nn.functional.mse_loss(outputs.sigmoid() if self.output == "sigmoid" else outputs, labels)

    def _validation_auroc(
        self, scorer: networks.regressor.RegressionScorer, images: torch.Tensor, generator: torch.Generator
    ) -> float:
        both = torch.cat([images, synthetic.created.create_anomalies(images, generator, self.anomalies)])
        scores = scorer(both)["score"].float().cpu().numpy()
        if not np.isfinite(scores).all():
            return float("nan")  # the loop names the cure
        return float(Ranking(scores, np.arange(len(both)) >= len(images)).auroc())
