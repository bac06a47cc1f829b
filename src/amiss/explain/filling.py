"""What stands where something is taken away: what would be expected there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.preprocessing import to_float
from ..errors import UsageError

if TYPE_CHECKING:
    from ..detectors.base import Detector

#: `auto` takes the model's own expectation where it has one, else the nearest normal image.
FILLINGS = ("auto", "reconstruction", "nearest", "mean")


def chosen_filling(detector: Detector, image: NDArray[np.float32], kind: str) -> str:
    """Which filling `auto` stands for; others as they are.

    Raises:
        UsageError: a filling that the detector does not have.
    """
    clip, network = image.ndim == 4, _reconstructing(detector)
    if kind == "auto":
        return "mean" if clip else "reconstruction" if network is not None else "nearest"
    if kind == "nearest" and clip:
        raise UsageError("clips have no nearest normal image; set fill=mean")
    if kind == "reconstruction" and network is None:
        if not detector.sees_whole_images:
            reason = "sees patches or features, so it makes no reconstruction of the whole image"
        else:
            reason = f"makes no reconstruction on the engine {detector.engine_.name}"
        raise UsageError(f"{type(detector).__name__} {reason}; set fill={'mean' if clip else 'nearest or fill=mean'}")
    return kind


def filling(detector: Detector, image: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """What the image would look like if all of it were as expected.

    Args:
        detector: fitted; its model file holds up to 16 normal images that it has learnt from.
        image: (c, h, w), or (t, c, h, w) for a clip, float32 in [0, 1].
        kind: `reconstruction`: what an autoencoder makes of the image, on an engine of torch; `nearest`: the normal
            image that differs least (mean absolute difference); `mean`: their mean, for a clip in every frame; `auto`:
            the first that there is, and for clips the mean, which shows what stands still.

    Returns: the shape of `image`, float32.

    Raises:
        UsageError: `reconstruction` of a method that makes none, or without torch; `nearest` of a clip.
    """
    kind = chosen_filling(detector, image, kind)
    if kind == "reconstruction":
        return _reconstructed(_reconstructing(detector), image)
    normal = to_float(detector.reference_images())
    if kind == "mean":
        return np.broadcast_to(normal.mean(axis=0), image.shape).astype(np.float32)
    differences = np.abs(normal - image).mean(axis=(1, 2, 3))
    found: NDArray[np.float32] = normal[differences.argmin()]
    return found


def _reconstructing(detector: Detector) -> Any:
    """The autoencoder of a scorer of whole images, on an engine of torch."""
    if not detector.engine_.name.startswith("torch") or not detector.sees_whole_images:
        return None
    network = getattr(detector.torch_scorer(), "network", None)
    return network if hasattr(network, "reconstruct") else None


def _reconstructed(network: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        made = network.reconstruct(torch.from_numpy(image)[None])[0]
    return made.float().clamp(0, 1).numpy()  # type: ignore[no-any-return]
