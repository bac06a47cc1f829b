"""ADACL: augment to detect anomalies with continuous labelling (Khazaie's thesis, chapter 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import UsageError
from .base import Detector
from .settings import setting

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from ..training.stage import Batch, Stage

#: Held-out normals whose created anomalies choose the epoch (thesis, section 4.4).
_VALIDATION_IMAGES = 150
#: Kinds of created anomalies, by their names in `amiss.anomalies.created`.
_CREATED = ("cut_paste", "puzzle", "rotation", "mix_up")


@dataclass(kw_only=True, eq=False)
class ADACL(Detector):
    """A small regressor learns to tell normal images from anomalies created out of them.

    Each normal image gives one created anomaly an epoch, by a kind chosen at random; labels are drawn from
    [0, normal_high] and [anomaly_low, 1]. The network is trained and scores without the thesis's clip to [0, 1], whose
    gradient is zero outside and which makes scores tie; clipping is for display. The epoch is chosen by the AUROC over
    150 held-out normals and anomalies created from them, so no real anomaly is seen. AdamW with one cycle of the
    learning rate (the thesis: "variations of Adam", "cyclic learning rate", neither specified).

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
    anomalies: str = setting(",".join(_CREATED), "kinds of created anomalies, with commas between")
    patience: int = setting(10, "epochs without a better AUROC on created anomalies before training stops", low=1)
    fewest_steps: int = setting(50, "an epoch passes through few images several times, to this many steps", low=1)

    def build(self, shape: tuple[int, int, int]) -> nn.Module:
        from ..networks.regressor import RegressionScorer, Regressor

        return RegressionScorer(Regressor(*shape))

    def stages(self, scorer: nn.Module) -> list[Stage]:
        from torch.optim.lr_scheduler import OneCycleLR

        from ..training.stage import Player, Schedule, Stage

        def one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
            return OneCycleLR(optimizer, max_lr=3 * self.learning_rate, total_steps=steps)

        kinds = self._kinds()

        def terms(batch: Batch) -> dict[str, Tensor]:
            return {"regression loss": self._regression_loss(scorer, batch, kinds)}

        def monitor(images: Tensor, generator: Generator) -> float:
            return _validation_auroc(scorer, images[:_VALIDATION_IMAGES], generator, kinds)

        regressor = Player("regressor", scorer.parameters(), terms, self.learning_rate, Schedule(one_cycle, "step"))
        return [Stage("fit", [regressor], self.epochs, monitor, "max", self.patience, self.fewest_steps)]

    def _kinds(self) -> list[str]:
        return [kind.strip() for kind in self.anomalies.split(",")]

    def check(self) -> None:
        super().check()
        unknown = [kind for kind in self._kinds() if kind not in _CREATED]
        if unknown:
            raise UsageError(f"anomalies knows no kind {unknown[0]!r}; there are: {', '.join(_CREATED)}")
        if self.normal_high >= self.anomaly_low:
            raise UsageError(
                f"normal_high ({self.normal_high}) must be below anomaly_low ({self.anomaly_low}), or labels overlap"
            )

    def _regression_loss(self, scorer: nn.Module, batch: Batch, kinds: list[str]) -> Tensor:
        import torch
        from torch.nn import functional

        from ..anomalies.created import create_anomalies
        from ..objectives.labels import draw_labels

        created = create_anomalies(batch.images, batch.generator, kinds)
        images = torch.cat([batch.images, created]).contiguous(memory_format=torch.channels_last)
        anomalous = (torch.arange(len(images)) >= len(created)).to(images.device)
        labels = draw_labels(anomalous, batch.generator, self.normal_high, self.anomaly_low)
        answers = scorer(images)["score"]
        if self.loss == "bce":
            return functional.binary_cross_entropy_with_logits(answers, labels)
        return functional.mse_loss(answers.sigmoid() if self.output == "sigmoid" else answers, labels)


def _validation_auroc(scorer: nn.Module, images: Tensor, generator: Generator, kinds: list[str]) -> float:
    import numpy as np
    import torch

    from ..anomalies.created import create_anomalies
    from ..metrics import Ranking

    both = torch.cat([images, create_anomalies(images, generator, kinds)])
    scores = scorer(both)["score"].float().cpu().numpy()
    if not np.isfinite(scores).all():
        return float("nan")  # the loop names the cure
    return float(Ranking(scores, np.arange(len(both)) >= len(images)).auroc())
