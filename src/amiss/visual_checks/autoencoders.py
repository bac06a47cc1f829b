"""Figures of autoencoders: what they paint, what their parts do, where their codes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import networks
from ..data import Images, open_images
from ..data.preprocessing import to_float
from ..detectors.detector import Detector
from ..errors import UsageError
from ..lazy import torch
from ..methods.bcae1 import BCAE1
from ..metrics import Ranking
from ..model import FittedModel
from .drawing import ANOMALOUS, NORMAL, QUIET, bare, fitted, name_row, new_figure, read, show, some

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reconstructions(model: FittedModel | Detector[Any], x: Images, count: int = 8) -> Figure:
    """Images above their reconstructions and the errors (RAVI figs. 4.3, 4.4; ALPS figs. 2, 3; ADNL figs. 1, 6).

    With a distorter or noise in the code, a row shows what is painted from perturbed codes too.

    Raises:
        UsageError: the method does not reconstruct, or works on patches.
    """
    model = fitted(model)
    scorer = _reconstructing(model)
    images, items = some(model, x, count)
    with torch.inference_mode():
        normal, perturbed = scorer.network.both(images)
        error = scorer.error(images, normal)
    rows = {"input": images, "reconstruction": normal}
    if model.settings["code"] in ("distorter", "noise"):
        rows["from perturbed code"] = perturbed
    figure = new_figure(1.1 * len(images) + 1.3, 1.15 * (len(rows) + 1) + 0.3)
    grid = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for axes, (name, row) in zip(grid, rows.items(), strict=False):
        for axis, image in zip(axes, row, strict=True):
            show(axis, image.numpy())
        name_row(axes[0], name)
    for axis, error_map in zip(grid[-1], error.numpy(), strict=True):
        axis.imshow(error_map, cmap="inferno", vmin=0, vmax=float(error.max()))
        bare(axis)
    name_row(grid[-1][0], "error")
    for axis, item in zip(grid[0], items, strict=True):
        colour = ANOMALOUS if item.anomalous else NORMAL if item.anomalous is False else QUIET
        axis.set_title(item.kind or "", fontsize=8, color=colour)
    return figure


def attention_maps(model: FittedModel | Detector[Any], x: Images, count: int = 8) -> Figure:
    """What an input gate lets through: image, map, and their product (RAVI figs. 3.2, 3.3).

    Raises:
        UsageError: the model has no gate.
    """
    model = fitted(model)
    gate = _reconstructing(model).network.gate
    if not isinstance(gate, networks.gates.SoftAttention):
        raise UsageError(f"this {model.label} has no gate; set gate=sa or gate=ssa")
    images, _ = some(model, x, count)
    with torch.inference_mode():
        maps = gate.attention_map(images)
    figure = new_figure(1.1 * len(images) + 1.0, 3.7)
    grid = figure.subplots(3, len(images), squeeze=False)
    for column, (image, weights) in enumerate(zip(images.numpy(), maps.numpy(), strict=True)):
        show(grid[0][column], image)
        grid[1][column].imshow(weights.mean(axis=0), cmap="viridis", vmin=0, vmax=1)
        bare(grid[1][column])
        show(grid[2][column], image * weights)
    for axes, name in zip(grid, ("input", "map", "gated"), strict=True):
        name_row(axes[0], name)
    return figure


def first_layer_activations(model: FittedModel | Detector[Any], x: Images, count: int = 4, channels: int = 8) -> Figure:
    """What the first convolution answers to some images (RAVI fig. 4.5).

    Raises:
        UsageError: the method does not reconstruct, or works on patches.
    """
    model = fitted(model)
    network = _reconstructing(model).network
    images, _ = some(model, x, count)
    with torch.inference_mode():
        activations = network.encoder[0](network.gate(images)).numpy()
    figure = new_figure(0.9 * (channels + 1), 1.0 * len(images))
    grid = figure.subplots(len(images), channels + 1, squeeze=False)
    for axes, image, maps in zip(grid, images.numpy(), activations, strict=True):
        show(axes[0], image)
        for axis, channel in zip(axes[1:], maps, strict=False):
            axis.imshow(channel, cmap="magma")
            bare(axis)
    return figure


# -- codes -------------------------------------------------------------------------------------------------------------


def embeddings(models: Mapping[str, FittedModel | Detector[Any]], labelled: Images) -> Figure:
    """Two principal components of the codes of both classes, one panel a model (RAVI figs. 4.9, 4.10).

    The components are those of the normal images' codes. Give a model before and after SVDD regularisation to see what
    that does.

    Raises:
        UsageError: a method without an encoder.
    """
    from sklearn.decomposition import PCA

    figure = new_figure(3.4 * len(models), 3.4)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axis, (name, each) in zip(panels, models.items(), strict=True):
        model = fitted(each)
        stack = read(model, labelled, "eval")
        labels = np.array([bool(item.anomalous) for item in stack.items])
        codes = codes_of(model, stack.images)
        flat = PCA(2, random_state=0).fit(codes[~labels]).transform(codes)
        for anomalous, title, colour in ((True, "anomalous", ANOMALOUS), (False, "normal", NORMAL)):
            points = flat[labels == anomalous]
            axis.scatter(points[:, 0], points[:, 1], s=6, alpha=0.5, color=colour, label=title, linewidths=0)
        axis.set_title(name, fontsize=10)
        axis.legend(loc="upper right", frameon=False, fontsize=8)
    return figure


@runtime_checkable
class _Encoding(Protocol):
    """A scorer that has codes, or embeddings."""

    def encode(self, images: torch.Tensor) -> torch.Tensor: ...


def codes_of(model: FittedModel | Detector[Any], images: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d) codes, or embeddings, of prepared images (n, c, h, w).

    Raises:
        UsageError: a method without an encoder, or one that scores patches.
    """
    model = fitted(model)
    if not model.sees_whole_images:
        raise UsageError("codes are looked at for whole images; fit with patch=none and features=none")
    scorer = model.torch_scorer()
    if not isinstance(scorer, _Encoding):
        raise UsageError(f"{model.label} has no codes to look at")
    with torch.inference_mode():
        parts = [scorer.encode(torch.from_numpy(to_float(images[at : at + 256]))) for at in range(0, len(images), 256)]
    return torch.cat(parts).flatten(1).numpy()


# -- SVDD regularisation -----------------------------------------------------------------------------------------------


def svdd_ablation(
    normal: Images,
    labelled: Images,
    learning_rates: Sequence[float] = (1e-7, 5e-7, 1e-6, 1e-5, 1e-4),
    fine_tuning: int = 20,
    **settings: Any,
) -> tuple[NDArray[np.float64], float]:
    """AUROC by SVDD learning rate and number of epochs (RAVI fig. 4.8); it sees anomalies, so it is no way to choose.

    Args:
        normal: images to fit on.
        labelled: of both kinds; their AUROC is what is measured.
        learning_rates: of fine-tuning.
        fine_tuning: most epochs of it.
        settings: of `BCAE1`, among them `svdd` (soft-boundary unless given).

    Returns: (learning rates, epochs) AUROCs, and that of the detector before fine-tuning.
    """
    rows = []
    for rate in learning_rates:
        given = {"svdd": "soft-boundary", **settings, "svdd_learning_rate": rate, "svdd_epochs": fine_tuning}
        model = BCAE1(**given).fit(normal, validation=labelled).require_fitted()
        stage = next(stage for stage in model.record.training.stages if stage.stage == "svdd")
        rows.append([each["validation AUROC"] for each in stage.figures])
    known = open_images(labelled, "eval").where(lambda item: item.anomalous is not None)
    plain = BCAE1(**{**settings, "svdd": None}).fit(normal, validation=labelled).require_fitted()
    plain = plain.on("torch")  # as what it is compared with, which training measured without bfloat16
    return np.array(rows), float(Ranking(plain.score(known).scores, known.labels()).auroc())


def svdd_grid(aurocs: NDArray[np.float64], before: float, learning_rates: Sequence[float]) -> Figure:
    """The figures of `svdd_ablation`, one curve a learning rate, with the AUROC before fine-tuning as a dot at 0."""
    figure = new_figure(6.4, 3.4)
    axis = figure.subplots()
    for rate, row in zip(learning_rates, aurocs, strict=True):
        axis.plot(range(len(row) + 1), [before, *row], label=f"{rate:g}")
    axis.plot([0], [before], "ko")
    axis.set_xlabel("epochs of fine-tuning")
    axis.set_ylabel("AUROC")
    axis.legend(loc="upper right", title="learning rate", frameon=False, fontsize=8)
    return figure


def _reconstructing(model: FittedModel) -> networks.autoencoder.ReconstructionScorer:
    scorer = model.torch_scorer()
    if not isinstance(scorer, networks.autoencoder.ReconstructionScorer):
        raise UsageError(f"{model.label} does not reconstruct whole images; there is nothing to show")
    return scorer
