"""Continuous labels of the thesis, section 4.3.3."""

from __future__ import annotations

import numpy as np
import torch

from amiss.objectives.continuous_labels import draw_labels


def test_continuous_labels_are_uniform_in_their_intervals() -> None:
    anomalous = torch.arange(20_000) % 2 == 1
    labels = draw_labels(anomalous, torch.Generator().manual_seed(0), 0.3, 0.7).numpy()
    for values, low, high in ((labels[::2], 0.0, 0.3), (labels[1::2], 0.7, 1.0)):
        assert values.min() >= low
        assert values.max() <= high
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_discrete_labels_are_the_limit() -> None:
    anomalous = torch.tensor([True, False, True])
    labels = draw_labels(anomalous, torch.Generator().manual_seed(0), 0.0, 1.0)
    assert labels.tolist() == [1.0, 0.0, 1.0]
