"""The papers' visual checks as functions: each looks at a fitted detector and returns a matplotlib figure.

    amiss.visual_checks.reconstructions(detector, "parts/new").savefig("reconstructions.png")

Needs the extras `train` and `plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import versions
from .data import Item, open_images
from .data.folder import Purpose
from .data.preprocessing import to_float
from .data.stack import Stack, load_stack
from .detectors.base import Detector, Images
from .detectors.g2d import G2D, kept_path, load_kept, phases
from .detectors.reconstructor import Reconstructor
from .detectors.settings import whole_numbers
from .errors import DataError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

NORMAL, ANOMALOUS, QUIET = "#2b6ca3", "#c2410c", "#6b7280"


def reconstructions(detector: Detector, x: Images, count: int = 8) -> Figure:
    """Images above their reconstructions and the errors (RAVI figs. 4.3, 4.4; ALPS figs. 2, 3; ADNL figs. 1, 6).

    With a distorter or noise in the code, a row shows what is painted from perturbed codes too.

    Raises:
        UsageError: the method does not reconstruct, or works on patches.
    """
    import torch

    scorer = _reconstructing(detector)
    images, items = _some(detector, x, count)
    with torch.inference_mode():
        normal, perturbed = scorer.network.both(images)
        error = scorer.error(images, normal)
    rows = {"input": images, "reconstruction": normal}
    if detector.get_params()["code"] in ("distorter", "noise"):
        rows["from perturbed code"] = perturbed
    figure = _figure(1.1 * len(images) + 1.3, 1.15 * (len(rows) + 1) + 0.3)
    grid = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for axes, (name, row) in zip(grid, rows.items(), strict=False):
        for axis, image in zip(axes, row, strict=True):
            _show(axis, image.numpy())
        _name_row(axes[0], name)
    for axis, places in zip(grid[-1], error.numpy(), strict=True):
        axis.imshow(places, cmap="inferno", vmin=0, vmax=float(error.max()))
        _bare(axis)
    _name_row(grid[-1][0], "error")
    for axis, item in zip(grid[0], items, strict=True):
        colour = ANOMALOUS if item.anomalous else NORMAL if item.anomalous is False else QUIET
        axis.set_title(item.kind or "", fontsize=8, color=colour)
    return figure


def score_histograms(detector: Detector, labelled: Images, bins: int = 40) -> Figure:
    """Scores of normal images and of anomalies, with the threshold in use (ADNL figs. 5, 8).

    Raises:
        DataError: no labels.
    """
    collection = open_images(labelled, "eval")
    known = collection.where(lambda item: item.anomalous is not None)
    if not len(known):
        raise DataError(f"{collection.title} has no labels; a histogram of both classes needs them")
    scores, labels = detector.score(known).scores, known.labels()
    figure = _figure(6.4, 3.2)
    axis = figure.subplots()
    low, high = np.quantile(scores[np.isfinite(scores)], [0, 0.995])
    edges = np.linspace(float(low), float(high), bins + 1).tolist()
    for anomalous, name, colour in ((False, "normal", NORMAL), (True, "anomalous", ANOMALOUS)):
        axis.hist(
            np.clip(scores[labels == anomalous], edges[0], edges[-1]),
            edges,
            density=True,
            alpha=0.6,
            color=colour,
            label=name,
        )
    axis.axvline(detector.decision_.threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    axis.set_xlabel("score")
    axis.set_ylabel("density")
    axis.legend(frameon=False)
    return figure


def auroc_by_epoch(detectors: Mapping[str, Detector]) -> Figure:
    """AUROC on labelled validation images after every epoch (ADNL figs. 3, 4; thesis fig. 4.7).

    The detectors must have been fitted with `validation=...`.

    Raises:
        UsageError: one was not.
    """
    figure = _figure(6.4, 3.2)
    axis = figure.subplots()
    for name, detector in detectors.items():
        figures = [each for stage in detector.training_["stages"] for each in stage["figures"]]
        curve = [each["validation AUROC"] for each in figures if "validation AUROC" in each]
        if not curve:
            raise UsageError(f"{name} was fitted without validation images, so no AUROC by epoch is known")
        axis.plot(range(1, len(curve) + 1), curve, marker=".", label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel("AUROC on validation images")
    axis.legend(frameon=False)
    return figure


def embeddings(detectors: Mapping[str, Detector], labelled: Images) -> Figure:
    """Two principal components of the codes of both classes, one panel a detector (RAVI figs. 4.9, 4.10).

    The components are those of the normal images' codes. Give a detector before and after SVDD regularisation to see
    what that does.

    Raises:
        UsageError: a method without an encoder.
    """
    from sklearn.decomposition import PCA

    figure = _figure(3.4 * len(detectors), 3.4)
    panels = figure.subplots(1, len(detectors), squeeze=False)[0]
    for axis, (name, detector) in zip(panels, detectors.items(), strict=True):
        stack = _read(detector, labelled, "eval")
        labels = np.array([bool(item.anomalous) for item in stack.items])
        codes = codes_of(detector, stack.images)
        flat = PCA(2, random_state=0).fit(codes[~labels]).transform(codes)
        for anomalous, title, colour in ((True, "anomalous", ANOMALOUS), (False, "normal", NORMAL)):
            points = flat[labels == anomalous]
            axis.scatter(points[:, 0], points[:, 1], s=6, alpha=0.5, color=colour, label=title, linewidths=0)
        axis.set_title(name, fontsize=10)
        axis.legend(frameon=False, fontsize=8)
    return figure


def codes_of(detector: Detector, images: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d) codes, or embeddings, of prepared images (n, c, h, w).

    Raises:
        UsageError: a method without an encoder, or one that scores patches.
    """
    import torch

    if not detector.sees_whole_images:
        raise UsageError("codes are looked at for whole images; fit with patch=none and features=none")
    scorer: Any = detector.torch_scorer()
    encode = getattr(scorer.network, "encode", None) if hasattr(scorer, "network") else None
    if encode is None:
        if type(detector).__name__ != "DeepSVDD":
            raise UsageError(f"{type(detector).__name__} has no codes to look at")
        encode = scorer.network
    with torch.inference_mode():
        parts = [encode(torch.from_numpy(to_float(images[at : at + 256]))) for at in range(0, len(images), 256)]
    return torch.cat(parts).flatten(1).numpy()


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
    from .detectors.bcae1 import BCAE1
    from .metrics import Ranking

    rows = []
    for rate in learning_rates:
        given = {"svdd": "soft-boundary", **settings, "svdd_learning_rate": rate, "svdd_epochs": fine_tuning}
        detector = BCAE1(**given).fit(normal, validation=labelled)
        rows.append([each["validation AUROC"] for each in _stage(detector, "svdd")["figures"]])
    known = open_images(labelled, "eval").where(lambda item: item.anomalous is not None)
    plain = BCAE1(**{**settings, "svdd": "none"}).fit(normal, validation=labelled)
    return np.array(rows), float(Ranking(plain.score(known).scores, known.labels()).auroc())


def svdd_grid(aurocs: NDArray[np.float64], before: float, learning_rates: Sequence[float]) -> Figure:
    """The figures of `svdd_ablation`, one curve a learning rate, with the AUROC before fine-tuning as a dot at 0."""
    figure = _figure(6.4, 3.4)
    axis = figure.subplots()
    for rate, row in zip(learning_rates, aurocs, strict=True):
        axis.plot(range(len(row) + 1), [before, *row], label=f"{rate:g}")
    axis.plot([0], [before], "ko")
    axis.set_xlabel("epochs of fine-tuning")
    axis.set_ylabel("AUROC")
    axis.legend(title="learning rate", frameon=False, fontsize=8)
    return figure


def generated(
    detector: Detector, folder: str | Path, epochs: Sequence[int], count: int = 64, seed: int = 0
) -> NDArray[np.float32]:
    """Images (epochs, count, c, h, w) by the generators that `G2D.fit(..., work_dir=folder)` has kept.

    Raises:
        UsageError: another method, or an epoch that was not kept.
    """
    import torch

    from .networks.wgan import Generator

    if not isinstance(detector, G2D) or detector.patch != "none":
        raise UsageError(f"{type(detector).__name__} has no generators of whole images; G2D without patches has")
    filters = list(whole_numbers("filters", detector.filters, least=1))
    network = Generator(detector.preprocessing_.shape, filters, detector.noise).eval()
    noise = torch.randn(count, detector.noise, generator=torch.Generator().manual_seed(seed))
    images = []
    for epoch in epochs:
        if not kept_path(Path(folder), epoch).exists():
            raise UsageError(f"{folder} holds no generator of epoch {epoch}; fit G2D with work_dir={folder}")
        load_kept(network, Path(folder), epoch)
        with torch.inference_mode():
            images.append(network(noise).numpy())
    return np.stack(images)


def generated_by_epoch(detector: Detector, folder: str | Path, normal: Images, epochs: Sequence[int]) -> Figure:
    """Samples of kept generators, and a t-SNE of them among normal images (G2D figs. 1, 4).

    Args:
        detector: a G2D fitted with `work_dir=folder`.
        normal: images to stand beside the generated ones.
        epochs: from 0, one row each.
    """
    from sklearn.manifold import TSNE

    made = generated(detector, folder, epochs)
    real = to_float(_read(detector, normal).images[: made.shape[1]])
    history = [each["wasserstein"] for each in detector.training_["stages"][0]["figures"]]
    found = phases(history)
    flat = np.concatenate([real, *made]).reshape(len(real) + made.shape[0] * made.shape[1], -1)
    places = TSNE(2, random_state=0, init="pca", perplexity=min(30, len(flat) // 4)).fit_transform(flat)
    figure = _figure(9, 0.8 * len(epochs) + 1.6)
    left, right = np.asarray(figure.subfigures(1, 2))
    grid = left.subplots(len(epochs), 6, squeeze=False)
    for axes, epoch, images in zip(grid, epochs, made, strict=True):
        for axis, image in zip(axes, images, strict=False):
            _show(axis, image)
        _name_row(axes[0], f"epoch {epoch + 1}\n{found[epoch]}")
    axis = right.subplots()
    axis.scatter(*places[: len(real)].T, s=8, color="black", label="normal")
    for number, epoch in enumerate(epochs):
        begin = len(real) + number * made.shape[1]
        axis.scatter(*places[begin : begin + made.shape[1]].T, s=8, label=f"epoch {epoch + 1}")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(frameon=False, fontsize=7)
    return figure


def attention_maps(detector: Detector, x: Images, count: int = 8) -> Figure:
    """What an input gate lets through: image, map, and their product (RAVI figs. 3.2, 3.3).

    Raises:
        UsageError: the detector has no gate.
    """
    import torch

    scorer = _reconstructing(detector)
    if detector.get_params()["gate"] == "none":
        raise UsageError(f"this {type(detector).__name__} has no gate; set gate=sa or gate=ssa")
    images, _ = _some(detector, x, count)
    with torch.inference_mode():
        maps = scorer.network.gate.attention_map(images)
    figure = _figure(1.1 * len(images) + 1.0, 3.7)
    grid = figure.subplots(3, len(images), squeeze=False)
    for column, (image, places) in enumerate(zip(images.numpy(), maps.numpy(), strict=True)):
        _show(grid[0][column], image)
        grid[1][column].imshow(places.mean(axis=0), cmap="viridis", vmin=0, vmax=1)
        _bare(grid[1][column])
        _show(grid[2][column], image * places)
    for axes, name in zip(grid, ("input", "map", "gated"), strict=True):
        _name_row(axes[0], name)
    return figure


def first_layer_activations(detector: Detector, x: Images, count: int = 4, channels: int = 8) -> Figure:
    """What the first convolution answers to some images (RAVI fig. 4.5).

    Raises:
        UsageError: the method does not reconstruct, or works on patches.
    """
    import torch

    scorer = _reconstructing(detector)
    images, _ = _some(detector, x, count)
    with torch.inference_mode():
        answers = scorer.network.encoder[0](scorer.network.gate(images)).numpy()
    figure = _figure(0.9 * (channels + 1), 1.0 * len(images))
    grid = figure.subplots(len(images), channels + 1, squeeze=False)
    for axes, image, answer in zip(grid, images.numpy(), answers, strict=True):
        _show(axes[0], image)
        for axis, places in zip(axes[1:], answer, strict=False):
            axis.imshow(places, cmap="magma")
            _bare(axis)
    return figure


# -- drawing ----------------------------------------------------------------------------------------------------------


def _reconstructing(detector: Detector) -> Any:
    if not isinstance(detector, Reconstructor) or not detector.sees_whole_images:
        raise UsageError(f"{type(detector).__name__} does not reconstruct whole images; there is nothing to show")
    return detector.torch_scorer()


def _stage(detector: Detector, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(stage for stage in detector.training_["stages"] if stage["stage"] == name)
    return found


def _read(detector: Detector, x: Images, purpose: Purpose = "score") -> Stack:
    detector.require_fitted()
    stack = load_stack(open_images(x, purpose), detector.preprocessing_)
    if stack.unreadable:
        raise DataError(stack.unreadable[0][1])
    return stack


def _some(detector: Detector, x: Images, count: int) -> tuple[Tensor, list[Item]]:
    """At most `count` of the images, evenly spread, prepared (n, c, h, w) float32, and what is known of them."""
    import torch

    stack = _read(detector, x)
    chosen = np.unique(np.linspace(0, len(stack.images) - 1, min(count, len(stack.images))).astype(np.int64))
    return torch.from_numpy(to_float(stack.images[chosen])), [stack.items[index] for index in chosen]


def _figure(width: float, height: float) -> Figure:
    versions.require("plots", "drawing figures", "matplotlib")
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=120, layout="constrained")


def _show(axis: Any, image: NDArray[Any]) -> None:
    axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
    _bare(axis)


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _name_row(axis: Any, name: str) -> None:
    axis.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
