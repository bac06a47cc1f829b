"""What stands behind a backbone: a scorer of its feature maps, which may see the image too."""

from __future__ import annotations

from torch import Tensor, nn


def sees_image(head: nn.Module) -> bool:
    """Does the head take the image beside the features? It then says so by an attribute `sees_image`."""
    return bool(getattr(head, "sees_image", False))


def answers(head: nn.Module, features: Tensor, image: Tensor) -> dict[str, Tensor]:
    """`score` (n,) and perhaps `map` of a head, from features (n, d, h', w') and the image (n, c, h, w).

    Without a backbone both are the images.
    """
    found: dict[str, Tensor] = head(features, image) if sees_image(head) else head(features)
    return found
