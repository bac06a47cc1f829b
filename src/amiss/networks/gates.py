"""Input gates: the image weighted by an attention map of its own (RAVI 3.5.3, eqs. 3.11 and 3.12)."""

from __future__ import annotations

from torch import Tensor, nn

#: SSA maps are scaled to [0.3, 1] (RAVI 3.5.3).
_LOWEST = 0.3
#: A map whose range is a smaller share of its maximum is flat: float32 sums over a long side differ by about as much.
_LEAST_CONTRAST = 1e-4


class SoftAttention(nn.Module):
    """SA: two convolutions, batch normalisation, sigmoid; the image times the map (eq. 3.11).

    Args:
        channels: of the image.
        middle: C_p, channels between the convolutions.
        small, large: sides of their kernels, k1 and k2.

    Shape: (n, channels, h, w) to the same.
    """

    def __init__(self, channels: int, middle: int = 64, small: int = 3, large: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, middle, small, padding=small // 2),
            nn.Conv2d(middle, channels, large, padding=large // 2),
            nn.BatchNorm2d(channels),
        )

    def attention_map(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) in (0, 1)."""
        features: Tensor = self.features(image)
        return features.sigmoid()

    def weights(self, value: Tensor) -> Tensor:
        """What the image (n, channels, h, w) is multiplied by, of its shape: the attention map."""
        return self.attention_map(value)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.attention_map(image)


class SoftmaxSoftAttention(SoftAttention):
    """SSA: the same block up to batch normalisation; axis sums, softmaxes, their outer product (eq. 3.12).

    The map is scaled to [0.3, 1] for each image and channel on its own, so that no image changes another's score; a map
    without any contrast (a range under 1e-4 of its maximum) becomes 1 everywhere. Sums over a long side make the
    softmax pick few rows and columns; so it stands in the paper. Arguments and shapes as `SoftAttention`.
    """

    def attention_map(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) in [0.3, 1]."""
        features = self.features(image).float()
        rows, columns = features.sum(dim=3).softmax(dim=2), features.sum(dim=2).softmax(dim=2)
        product = rows[:, :, :, None] * columns[:, :, None, :]
        low, high = product.amin(dim=(2, 3), keepdim=True), product.amax(dim=(2, 3), keepdim=True)
        contrast = high - low
        scaled = (product - low) / contrast.clamp(min=1e-30)
        share: Tensor = scaled.where(contrast > _LEAST_CONTRAST * high, 1.0)
        return _LOWEST + (1 - _LOWEST) * share
