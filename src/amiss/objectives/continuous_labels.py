"""Continuous labels of normal images and created anomalies (ADACL, thesis section 4.3.3)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw_labels(anomalous: Tensor, generator: Generator, normal_high: float, anomaly_low: float) -> Tensor:
    """Continuous labels: normal from [0, normal_high], created anomalies from [anomaly_low, 1], uniformly.

    Args:
        anomalous: (n,) bool.
        generator: of the CPU.
        normal_high, anomaly_low: the thesis's X_L and X_H; 0 and 1 give its discrete labels.

    Returns: (n,) float32 on the device of `anomalous`.

    >>> draw_labels(torch.tensor([False, True]), torch.Generator().manual_seed(0), 0.0, 1.0).tolist()
    [0.0, 1.0]
    """
    uniform = torch.rand(len(anomalous), generator=generator).to(anomalous.device)
    return torch.where(anomalous, anomaly_low + (1 - anomaly_low) * uniform, normal_high * uniform)


def draw_label_map(share: Tensor, generator: Generator, normal_high: float, anomaly_low: float) -> Tensor:
    """Continuous labels for locations: as `draw_labels` for unchanged and changed ones, in between for others.

    Args:
        share: (n, h, w), changed share of each location; from one half on it counts as changed.
        generator, normal_high, anomaly_low: as for `draw_labels`.

    Returns: (n, h, w) float32 on the device of `share`.

    >>> draw_label_map(torch.tensor([[[0.0, 0.25, 0.5]]]), torch.Generator().manual_seed(0), 0.0, 1.0).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    uniform = torch.rand(2, *share.shape, generator=generator).to(share.device)
    low, high = normal_high * uniform[0], anomaly_low + (1 - anomaly_low) * uniform[1]
    return low + (high - low) * (2 * share).clamp(max=1)
