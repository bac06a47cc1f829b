"""What stands where something is taken away: what would be expected there."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..data.preprocessing import to_float
from ..errors import UsageError
from ..lazy import torch
from .explainable import Explainable


@runtime_checkable
class _Reconstructing(Protocol):
    """A network that paints what it would expect of images (n, c, h, w)."""

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor: ...


#: `auto` takes the model's own expectation where it has one, else the nearest normal image.
FILLINGS = ("auto", "reconstruction", "nearest", "mean")


def chosen_filling(model: Explainable, image: NDArray[np.float32], kind: str) -> str:
    """Which filling `auto` stands for; others as they are.

    Raises:
        UsageError: a filling that the model does not have.
    """
    clip, network = image.ndim == 4, _reconstructing(model)
    if kind == "auto":
        return "mean" if clip else "reconstruction" if network is not None else "nearest"
    if kind == "nearest" and clip:
        raise UsageError("clips have no nearest normal image; set fill=mean")
    if kind == "reconstruction" and network is None:
        if not model.sees_whole_images:
            reason = "sees patches or features, so it makes no reconstruction of the whole image"
        else:
            reason = f"makes no reconstruction on the engine {model.engine.name}"
        raise UsageError(f"{model.label} {reason}; set fill={'mean' if clip else 'nearest or fill=mean'}")
    return kind


def filling(model: Explainable, image: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """What the image would look like if all of it were as expected.

    Args:
        model: fitted; its model file holds up to 16 normal images that it has learnt from.
        image: (c, h, w), or (t, c, h, w) for a clip, float32 in [0, 1].
        kind: `reconstruction`: what an autoencoder makes of the image, on an engine of torch; `nearest`: the normal
            image that differs least (mean absolute difference); `mean`: their mean, for a clip in every frame; `auto`:
            the first that there is, and for clips the mean, which shows what stands still.

    Returns: the shape of `image`, float32.

    Raises:
        UsageError: `reconstruction` of a method that makes none, or without torch; `nearest` of a clip.
    """
    kind = chosen_filling(model, image, kind)
    network = _reconstructing(model)
    if kind == "reconstruction" and network is not None:
        return _reconstructed(network, image)
    normal = to_float(model.reference)
    if kind == "mean":
        return np.broadcast_to(normal.mean(axis=0), image.shape).astype(np.float32)
    differences = np.abs(normal - image).mean(axis=(1, 2, 3))
    found: NDArray[np.float32] = normal[differences.argmin()]
    return found


def _reconstructing(model: Explainable) -> _Reconstructing | None:
    """The autoencoder of a scorer of whole images, on an engine of torch."""
    if not model.engine.name.startswith("torch") or not model.sees_whole_images:
        return None
    network = getattr(model.torch_scorer(), "network", None)
    return network if isinstance(network, _Reconstructing) else None


def _reconstructed(network: _Reconstructing, image: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        reconstruction = network.reconstruct(torch.from_numpy(image)[None])[0]
    found: NDArray[np.float32] = reconstruction.float().clamp(0, 1).numpy()
    return found
