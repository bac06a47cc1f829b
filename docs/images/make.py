"""Draws the pictures of the documentation from Fashion-MNIST: `python docs/images/make.py [NAME...]` (some minutes).

A picture for every method: eight images it has not seen, what it makes of them, and how surely.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import amiss
from amiss import visual_checks
from amiss.anomalies.created import CREATORS
from amiss.anomalies.kinds import LOCAL
from amiss.anomalies.local import LocalAnomalies
from amiss.calibration import smoothed
from amiss.data import Collection
from amiss.data.preprocessing import to_float
from amiss.data.protocols import few_labels
from amiss.detectors.detector import Detector
from amiss.detectors.reconstructor import Reconstructor
from amiss.explain import explainer_names
from amiss.registry import get_method, method_names
from amiss.report.explained import explained_picture

HERE = Path(__file__).parent
NORMAL = "fashion-mnist:train:normal=Sneaker:limit=15000"
#: Settings that make a picture's fit take a minute; nothing is claimed about how well it does.
QUICK: dict[str, dict[str, Any]] = {
    "located_adacl": {"epochs": 6},
    "recurrent": {"epochs": 12, "filters": (16, 16, 16, 24, 24), "strides": (1,), "recurrent_layers": 1},
    "g2d": {"filters": (128, 64, 32), "epochs": 20},
    "alps": {"epochs": 20},
    "deep_svdd": {"epochs": 30},
    "bcae2": {"epochs": 12, "filters": (32, 64, 128, 128, 100)},
    "ks_cae": {"epochs": 12, "filters": (32, 32, 64, 64, 100)},
    "transformation_prediction": {"epochs": 3},
    "aa_cae": {"epochs": 10},
    "aae": {"epochs": 20, "filters": (32, 64, 128, 64)},
    "adnl": {"epochs": 20, "filters": (32, 64, 128, 64)},
}


def eight() -> Collection:
    """Four sneakers of the test set, and four things that are none."""
    test = amiss.open_images("fashion-mnist:test:normal=Sneaker")
    items = [item for item in test if not item.anomalous][:4]
    for kind in ("Ankle boot", "Sandal", "Bag", "Trouser"):
        items.append(next(item for item in test if item.kind == kind))
    return Collection(items, "sneakers and others")


def labelled(count: int = 300) -> Collection:
    """The first sneakers, and as many others, of the test set."""
    test = amiss.open_images("fashion-mnist:test:normal=Sneaker")
    normal = [item for item in test if not item.anomalous][:count]
    return Collection([*normal, *[item for item in test if item.anomalous][:count]], "fashion-mnist")


def fit(name: str, **settings: Any) -> Detector[Any]:
    kind = get_method(name)
    given = {"epochs": min(12, kind().epochs or 12), **QUICK.get(name, {}), **settings}
    options = {}
    if name == "adnl":
        options["anomalies"] = few_labels(amiss.open_images("fashion-mnist:train:anomalous=Sandal").where(
            lambda item: bool(item.anomalous)), 50, 0)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**given).fit(NORMAL, **options)


def draw_method(name: str) -> None:
    """Images, reconstructions where there are any, maps where there are any, and p-values."""
    detector, images = fit(name), eight()
    result = detector.score(images)
    pixels = np.stack([item.read() for item in images])
    rows: list[tuple[str, Any, str]] = [("image", pixels, "gray")]
    if isinstance(detector, Reconstructor):
        prepared = torch.from_numpy(to_float(pixels[:, None]))
        network: Any = detector.model_.torch_scorer()
        with torch.inference_mode():
            rows.append(("painted", network.network(prepared)[:, 0].numpy(), "gray"))
    if detector.gives_map:
        rows.append(("map", smoothed(detector.anomaly_map(images)), "inferno"))
    figure = Figure((8.6, 1.12 * len(rows) + 0.35), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for axes, (title, row, colours) in zip(grid, rows, strict=True):
        scale = detector.map_scale_
        low, high = (scale.floor, 1.5 * scale.threshold) if title == "map" and scale else (0, row.max())
        for axis, picture in zip(axes, row, strict=True):
            axis.imshow(picture, cmap=colours, vmin=low, vmax=high)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(title, fontsize=9)
    for axis, item, p, flagged in zip(grid[0], images, result.p_values, result.is_anomaly, strict=True):
        axis.set_title(f"{item.kind}\np {p:.3f}", fontsize=8, color="#c2410c" if flagged else "#1d2126")
    save(figure, f"{name}.png")


def shoes_crossing(speeds: list[int], scale: int = 1, seed: int = 0) -> np.ndarray:
    """(n, 56, 112) frames of two sneakers that cross the picture; the second at so many pixels a frame, so large."""
    rng = np.random.default_rng(seed)
    items = [item for item in amiss.open_images("fashion-mnist:test:normal=Sneaker") if not item.anomalous]
    one, two = (items[index].read() for index in rng.choice(500, 2, replace=False))
    two = two.repeat(scale, axis=0).repeat(scale, axis=1)
    frames = rng.integers(20, 32, (len(speeds), 56, 112), dtype=np.uint8)
    for number, (frame, place) in enumerate(zip(frames, np.cumsum(speeds), strict=True)):
        for shoe, row, left in ((one, 0, number), (two, 56 - len(two), int(place))):
            columns = (left + np.arange(shoe.shape[1])) % 112
            frame[row : row + len(shoe), columns] = np.maximum(frame[row : row + len(shoe), columns], shoe)
    return frames


def draw_clip_method(name: str) -> None:
    """Frames of a normal video, of one with a shoe that is too fast, and of one with a shoe that is too large."""
    kind = get_method(name)
    normal = np.stack([shoes_crossing([1] * 120, seed=seed) for seed in range(40)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = kind(**QUICK.get(name, {})).fit(normal)
    columns = []
    for title, speeds, scale in (("normal", [1] * 30, 1), ("too fast", [4] * 30, 1), ("too large", [1] * 30, 2)):
        frames = shoes_crossing(speeds, scale, seed=99)
        result, maps = detector.score(frames), detector.anomaly_map(frames)
        shown = smoothed(maps)
        columns += [(title, frames[at], shown[at], result.p_values[at], result.is_anomaly[at]) for at in (14, 26)]
    figure = Figure((8.6, 2.0), dpi=110, layout="constrained")
    grid, scale_ = figure.subplots(2, len(columns), squeeze=False), detector.map_scale_
    assert scale_ is not None
    for (above, below), (title, frame, places, p, flagged) in zip(grid.T, columns, strict=True):
        above.imshow(frame, cmap="gray", vmin=0, vmax=255)
        below.imshow(places, cmap="inferno", vmin=scale_.floor, vmax=scale_.threshold * 1.5 - scale_.floor * 0.5)
        above.set_title(f"{title}\np {p:.3f}", fontsize=8, color="#c2410c" if flagged else "#1d2126")
        for axis in (above, below):
            axis.set_xticks([])
            axis.set_yticks([])
    save(figure, f"{name}.png")


def draw_explanations() -> None:
    """One image that is amiss, explained in every way that suits BCAE1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = get_method("bcae1")(epochs=20, filters=(32, 32, 32, 48, 48)).fit(NORMAL)
    bags = [item.read() for item in amiss.open_images("fashion-mnist:test:normal=Sneaker:kinds=Bag") if item.anomalous]
    picture = next(bag for bag in bags if detector.predict(bag[None])[0])
    figure = Figure((8.6, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    axes[0].imshow(picture, cmap="gray")
    axes[0].set_title("a bag, where sneakers are normal", fontsize=8, color="#1d2126")
    for axis, name in zip(axes[1:], explainer_names(), strict=True):
        found = detector.explain(picture, name)
        axis.imshow(explained_picture(found, picture, detector.preprocessing_))
        after = f"p {found.p_value:.3f}, then {found.replaced.p_value:.3f}"
        axis.set_title(f"{name}\n{after}", fontsize=8, color="#1d2126")
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    save(figure, "explanations.png")


def draw_created() -> None:
    """Normal images, and below each what every kind of created anomaly makes of it (ADACL)."""
    images = amiss.open_images("fashion-mnist:train:normal=Sneaker").normal[:4]
    batch = torch.from_numpy(to_float(np.stack([item.read() for item in images])[:, None]))
    generator = torch.Generator().manual_seed(4)
    rows = [("normal", batch), *((name, create(batch, generator)) for name, create in CREATORS.items())]
    figure = Figure((4.8, 5.4), dpi=110, layout="constrained")
    for axes, (name, row) in zip(figure.subplots(len(rows), 4), rows, strict=True):
        for axis, image in zip(axes, row[:, 0].numpy(), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(name, fontsize=9)
    save(figure, "created.png")


def draw_local() -> None:
    """Normal images, and below each the local anomalies of every kind, outlined (Located ADACL)."""
    images = amiss.open_images("fashion-mnist:train:normal=Sneaker").normal[:6]
    batch = torch.from_numpy(to_float(np.stack([item.read() for item in images])[:, None]))
    batch = torch.nn.functional.interpolate(batch, size=(56, 56), mode="bilinear", align_corners=False)
    generator = torch.Generator().manual_seed(5)
    rows = [("normal", batch, torch.zeros_like(batch))]
    for title, kind, edge in [*((kind, kind, "hard") for kind in LOCAL), ("poisson", "paste", "poisson")]:
        anomalies = LocalAnomalies([kind], [edge])
        if anomalies.needs_bank:
            anomalies.prepare(batch, generator, count=24)
        rows.append((title, *anomalies.create(batch, generator)))
    figure = Figure((6.6, 6.6), dpi=110, layout="constrained")
    for axes, (name, row, changed) in zip(figure.subplots(len(rows), 6), rows, strict=True):
        for axis, image, mask in zip(axes, row[:, 0].numpy(), changed[:, 0].numpy(), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            if mask.any():
                axis.contour(mask, levels=[0.5], colors="#f97316", linewidths=0.8)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(name, fontsize=9)
    save(figure, "local.png")


def draw_checks() -> None:
    """The visual checks, one picture each."""
    both, test = labelled(), eight()
    save(visual_checks.reconstructions(fit("alps"), test), "check-reconstructions.png")
    plain, regular = fit("bcae1"), fit("bcae1", svdd="soft-boundary", svdd_learning_rate=1e-4)
    save(visual_checks.score_histograms(plain, both), "check-histograms.png")
    save(visual_checks.embeddings({"BCAE1": plain, "with SVDD": regular}, both), "check-embeddings.png")
    save(visual_checks.attention_maps(fit("ssa_cae"), test), "check-attention.png")
    save(visual_checks.first_layer_activations(plain, test), "check-activations.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = {
            title: get_method(name)(epochs=12, **settings).fit(NORMAL, validation=both)
            for title, name, settings in (
                ("BCAE1", "bcae1", {}),
                ("ADACL", "adacl", {}),
                ("ALPS", "alps", {}),
            )
        }
        save(visual_checks.auroc_by_epoch(watched), "check-epochs.png")
        rates = (5e-7, 1e-5, 1e-4, 1e-3)
        aurocs, before = visual_checks.svdd_ablation(NORMAL, both, rates, 10, epochs=8)
        save(visual_checks.svdd_grid(aurocs, before, rates), "check-svdd.png")
        with tempfile.TemporaryDirectory() as folder:
            detector = get_method("g2d")(**QUICK["g2d"]).fit(NORMAL, work_dir=folder)
            figure = visual_checks.generated_by_epoch(detector, folder, NORMAL, [0, 2, 5, 10, 19])
            save(figure, "check-generated.png")


def save(figure: Figure, name: str) -> None:
    """A picture of few colours, which is a third of the size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    Image.open(buffer).convert("RGB").quantize(96).save(HERE / name, optimize=True)
    print(name, (HERE / name).stat().st_size // 1024, "KB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*method_names(), "created", "local", "checks", "explanations"])
    for name in parser.parse_args().names:
        {"created": draw_created, "local": draw_local, "checks": draw_checks, "explanations": draw_explanations}.get(
            name, lambda name=name: draw_method(name) if get_method(name)().clip_length == 1 else draw_clip_method(name)
        )()


if __name__ == "__main__":
    main()
