"""ADNL: anomaly detection with negative learning on a few labelled anomalies (Lee et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..settings import preset
from .aae import AAE


@dataclass(kw_only=True, eq=False)
class ADNL(AAE):
    """An adversarial autoencoder that learns to reconstruct normal images well, and labelled anomalies badly.

    First it learns from normals alone, as AAE; then normals lower the error while the anomalies of
    `fit(..., anomalies=...)` raise it, with the same weights (eqs. 2 and 3). Without anomalies it is AAE.

    >>> ADNL().get_params()["negative"]
    'plain'
    """

    title: ClassVar[str] = "Anomaly detection with negative learning"
    paper: ClassVar[str] = "Lee et al. 2021"
    needs: ClassVar[str] = "normal images; better with a few labelled anomalies"
    good_for: ClassVar[str] = "when there are some labelled anomalies, even a few"

    negative: str | None = preset(AAE, "negative", "plain")
