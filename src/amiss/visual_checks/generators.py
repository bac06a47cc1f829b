"""Figures of what the kept generators of a G2D make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import networks
from ..data import Images
from ..data.preprocessing import to_float
from ..detectors.detector import Detector
from ..errors import UsageError
from ..lazy import torch
from ..methods.g2d import G2D, kept_path, load_kept, phases
from ..model import FittedModel
from ..registry import get_method
from .drawing import fitted, name_row, new_figure, read, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def generated(
    model: FittedModel | Detector[Any], folder: str | Path, epochs: Sequence[int], count: int = 64, seed: int = 0
) -> NDArray[np.float32]:
    """Images (epochs, count, c, h, w) by the generators that `G2D.fit(..., work_dir=folder)` has kept.

    Raises:
        UsageError: another method, or an epoch that was not kept.
    """
    model = fitted(model)
    recipe = get_method(model.method.name)(**model.settings)
    if not isinstance(recipe, G2D) or recipe.patch is not None:
        raise UsageError(f"{model.label} has no generators of whole images; G2D without patches has")
    network = networks.wgan.Generator(model.preprocessing.shape, recipe.filters, recipe.noise).eval()
    noise = torch.randn(count, recipe.noise, generator=torch.Generator().manual_seed(seed))
    images = []
    for epoch in epochs:
        if not kept_path(Path(folder), epoch).exists():
            raise UsageError(f"{folder} holds no generator of epoch {epoch}; fit G2D with work_dir={folder}")
        load_kept(network, Path(folder), epoch)
        with torch.inference_mode():
            images.append(network(noise).numpy())
    return np.stack(images)


def generated_by_epoch(
    model: FittedModel | Detector[Any], folder: str | Path, normal: Images, epochs: Sequence[int]
) -> Figure:
    """Samples of kept generators, and a t-SNE of them among normal images (G2D figs. 1, 4).

    Args:
        model: a G2D fitted with `work_dir=folder`.
        folder: where its generators were kept.
        normal: images to stand beside the generated ones.
        epochs: from 0, one row each.
    """
    from sklearn.manifold import TSNE

    model = fitted(model)
    made = generated(model, folder, epochs)
    real = to_float(read(model, normal).images[: made.shape[1]])
    found = phases([each["wasserstein"] for each in model.record.training.stages[0].figures])
    flat = np.concatenate([real, *made]).reshape(len(real) + made.shape[0] * made.shape[1], -1)
    points = TSNE(2, random_state=0, init="pca", perplexity=min(30, len(flat) // 4)).fit_transform(flat)
    figure = new_figure(9, 0.8 * len(epochs) + 1.6)
    left, right = np.asarray(figure.subfigures(1, 2))
    grid = left.subplots(len(epochs), 6, squeeze=False)
    for axes, epoch, images in zip(grid, epochs, made, strict=True):
        for axis, image in zip(axes, images, strict=False):
            show(axis, image)
        name_row(axes[0], f"epoch {epoch + 1}\n{found[epoch]}")
    axis = right.subplots()
    axis.scatter(*points[: len(real)].T, s=8, color="black", label="normal")
    for number, epoch in enumerate(epochs):
        begin = len(real) + number * made.shape[1]
        axis.scatter(*points[begin : begin + made.shape[1]].T, s=8, label=f"epoch {epoch + 1}")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(loc="upper right", frameon=False, fontsize=7)
    return figure
