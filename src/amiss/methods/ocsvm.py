"""One-class support vector machine on principal components, a baseline of ALPS table I (Schölkopf et al. 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..environment import versions
from ..lazy import torch
from ..settings import setting


@dataclass(kw_only=True, eq=False)
class OCSVM(Detector["networks.neighbours.SupportVectors"]):
    """A boundary around the normal images, in the space of their principal components.

    Scikit-learn's machine with a Gaussian kernel as wide as its gamma="scale" makes it, on small copies of the images.
    Chosen here: the kernel, and principal components that are not whitened (trials of whitening on MNIST and
    Fashion-MNIST were undecided). Score: minus the decision function, so that positive is outside.

    >>> OCSVM().get_params()["nu"]
    0.1
    """

    title: ClassVar[str] = "One-class support vector machine"
    paper: ClassVar[str] = "Schölkopf et al. 2001; in Khazaie 2022, table I"
    family: ClassVar[str] = "compares with normal images"
    good_for: ClassVar[str] = "a baseline; small pictures of one kind of object; gives no map"
    has_epochs: ClassVar[bool] = False

    nu: float = setting(0.1, "share of training images that may lie outside", low=1e-3, high=0.9)
    explained: float = setting(0.95, "share of the variance that the principal components keep", low=1e-3, high=0.999)
    small: int = setting(32, "longest side of the small copies, in pixels", low=2)
    kept: int = setting(5000, "normal images that are learnt from, drawn at random where there are more", low=2)

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.neighbours.SupportVectors:
        return networks.neighbours.SupportVectors(shape, self.small)

    def stages(self, scorer: networks.neighbours.SupportVectors) -> Sequence[training.stage.Computation]:
        versions.require("train", "fitting OCSVM", "sklearn")
        from sklearn.svm import OneClassSVM

        def compute(context: training.stage.StageContext) -> dict[str, float]:
            chosen = torch.randperm(len(context.train), generator=context.generator)[: self.kept].sort().values
            parts = [scorer.downsample(context.train[part]).flatten(1).cpu() for part in torch.split(chosen, 256)]
            mean = torch.cat(parts).mean(dim=0)
            centred = torch.cat(parts) - mean
            variances, directions = torch.linalg.eigh(centred.T @ centred)
            explained = variances.flip(0).clamp(min=0).cumsum(dim=0)
            count = min(len(explained), 1 + int((explained < self.explained * explained[-1]).sum()))
            components = directions.T.flip(0)[:count]
            embedded = (centred @ components.T).numpy()
            gamma = 1 / (count * float(embedded.var()) or 1.0)  # as scikit-learn's "scale"
            machine = OneClassSVM(kernel="rbf", nu=self.nu, gamma=gamma).fit(embedded)
            learnt = {
                "mean": mean,
                "components": components,
                "vectors": machine.support_vectors_,
                "weights": machine.dual_coef_[0],
                "gamma": gamma,
                "intercept": machine.intercept_[0],
            }
            device = scorer.get_buffer("mean").device
            scorer.set_buffers(**{name: torch.as_tensor(value).float().to(device) for name, value in learnt.items()})
            return {"components": float(count), "support vectors": float(len(machine.support_))}

        return [training.stage.Computation("fit", compute)]
