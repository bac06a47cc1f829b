"""Squeeze-excitation: channels weighted by what the whole image holds (RAVI 3.5.2; Hu et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Global average pooling, two dense layers, a sigmoid: one weight for each channel.

    Args:
        channels: of the features.
        reduction: channels for each hidden unit; at least four units are kept.

    Shape: (n, channels, h, w) to the same.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.excitation = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def weights(self, value: Tensor) -> Tensor:
        """(n, channels, 1, 1): what the channels of the features (n, channels, h, w) are multiplied by."""
        weights: Tensor = self.excitation(value.mean(dim=(2, 3)))
        return weights[:, :, None, None]

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)
