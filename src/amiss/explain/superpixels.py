"""Superpixels: parts of an image that LIME and kernel SHAP take away as wholes, through captum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import torch
from .explainer import Question


def superpixels(image: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(h, w) int64, the number of the part that each pixel belongs to, from 0, without gaps.

    SLIC (Achanta et al. 2012), as in scikit-image; where it makes one part of everything, a grid.

    Args:
        image: (c, h, w), or (t, c, h, w) for a clip, whose last frame is cut, float32 in [0, 1].
        count: about how many.
    """
    from skimage.segmentation import slic

    picture = image[-1] if image.ndim == 4 else image
    gray = len(picture) == 1
    parts = slic(
        picture[0] if gray else picture.transpose(1, 2, 0),
        n_segments=count,
        compactness=0.1 if gray else 10,
        channel_axis=None if gray else -1,
        start_label=0,
    )
    if parts.min() == parts.max():
        parts = _grid(picture.shape[1:], count)
    return np.unique(parts, return_inverse=True)[1].reshape(parts.shape).astype(np.int64)


def _grid(size: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """(h, w) int64, rectangles, about `count` of them, and about square."""
    height, width = size
    side = max(1.0, (height * width / count) ** 0.5)
    down, across = (max(1, min(length, round(length / side))) for length in size)
    if down * across == 1:
        down, across = (1, min(2, width)) if width >= height else (min(2, height), 1)
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    parts: NDArray[np.int64] = rows[:, None] * across + columns
    return parts


def too_few(samples: int, parts: NDArray[np.int64]) -> list[str]:
    """A note where so many changed images cannot tell the parts (h, w) from one another."""
    count = int(parts.max()) + 1
    if samples > count:
        return []
    return [f"{samples} samples cannot tell {count} superpixels from one another; set samples to {10 * count}"]


def attributed(
    method: type[Any], question: Question, parts: NDArray[np.int64], samples: int, seed: int, **settings: Any
) -> NDArray[np.float32]:
    """What each superpixel adds to the score, in the question's unit, at each of its pixels (h, w).

    Args:
        method: captum's `Lime` or `KernelShap`.
        question: gives scores, and what stands where a superpixel is taken away.
        parts: (h, w) as `superpixels` gives them.
        samples: changed images that are scored.
        seed: of the choice which superpixels are taken away.
        settings: of the method's constructor.
    """

    def score(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(question.scores(images.numpy()) / question.unit)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found: torch.Tensor = method(score, **settings).attribute(
            torch.from_numpy(question.image)[None],
            baselines=torch.from_numpy(question.expected)[None],
            feature_mask=torch.from_numpy(np.broadcast_to(parts, question.image.shape).copy())[None],
            n_samples=samples,
            perturbations_per_eval=question.together,
            show_progress=False,
        )
    attributions: NDArray[np.float32] = found.flatten(0, -3)[0].float().numpy()
    return attributions
