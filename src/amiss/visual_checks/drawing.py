"""What all figures share: the model that is looked at, its images, and how they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data import Images, Item, open_images
from ..data.folder import Purpose
from ..data.preprocessing import to_float
from ..data.stack import Stack, load_stack
from ..detectors.detector import Detector
from ..environment import versions
from ..errors import DataError
from ..lazy import torch
from ..model import FittedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours of normal images, of anomalies, and of what is neither.
NORMAL, ANOMALOUS, QUIET = "#2b6ca3", "#c2410c", "#6b7280"


def fitted(model: FittedModel | Detector[Any]) -> FittedModel:
    """The model itself, or what a detector has learnt. Raises `NotFittedError` where it has learnt nothing yet."""
    return model.require_fitted() if isinstance(model, Detector) else model


def read(model: FittedModel, x: Images, purpose: Purpose = "score") -> Stack:
    """All of the images, prepared. Raises `DataError` where one cannot be read."""
    stack = load_stack(open_images(x, purpose), model.preprocessing)
    if stack.unreadable:
        raise DataError(stack.unreadable[0][1])
    return stack


def some(model: FittedModel, x: Images, count: int) -> tuple[torch.Tensor, list[Item]]:
    """At most `count` of the images, evenly spread, prepared (n, c, h, w) float32, and what is known of them."""
    stack = read(model, x)
    chosen = np.unique(np.linspace(0, len(stack.images) - 1, min(count, len(stack.images))).astype(np.int64))
    return torch.from_numpy(to_float(stack.images[chosen])), [stack.items[index] for index in chosen]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches. Raises `MissingExtraError` where matplotlib is not installed."""
    versions.require("plots", "drawing figures", "matplotlib")
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=120, layout="constrained")


def show(axis: Any, image: NDArray[Any]) -> None:
    """Draw an image (c, h, w) in [0, 1]."""
    axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
    bare(axis)


def bare(axis: Any) -> None:
    """Without ticks and frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def name_row(axis: Any, name: str) -> None:
    """Write the name of a row beside its first axis."""
    axis.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
