"""Other libraries' detectors on images that amiss has prepared; run by `small_defects.py` in their own environment.

    PYTHON benchmarks/rivals.py padim FOLDER

Reads FOLDER/train.npy and FOLDER/test.npy, (n, c, h, w) uint8, and writes FOLDER/scores.npy, (n,), and for PaDiM
FOLDER/maps.npy, (n, h, w). `padim` needs anomalib, `pyod_autoencoder` needs pyod and torch; neither needs amiss.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

_SIDE, _BATCH = 256, 16


def padim(train: np.ndarray, test: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """anomalib's PaDiM on ResNet-18 with random weights: nothing is downloaded."""
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel
    from torch.nn.functional import interpolate

    torch.manual_seed(seed)
    model = PadimModel(backbone="resnet18", layers=["layer1", "layer2", "layer3"], pre_trained=False)

    def batches(images: np.ndarray) -> Any:
        for begin in range(0, len(images), _BATCH):
            part = torch.from_numpy(images[begin : begin + _BATCH]).float() / 255
            part = interpolate(part.expand(-1, 3, -1, -1), (_SIDE, _SIDE), mode="bilinear", antialias=True)
            yield (part - 0.45) / 0.225

    model.train()
    with torch.no_grad():
        for batch in batches(train):
            model(batch)
        model.fit()
        model.eval()
        found = [model(batch) for batch in batches(test)]
        maps = torch.cat([each.anomaly_map for each in found])
        maps = interpolate(maps, test.shape[2:], mode="bilinear")[:, 0]
    return torch.cat([each.pred_score for each in found]).numpy().ravel(), maps.numpy()


def pyod_autoencoder(train: np.ndarray, test: np.ndarray, seed: int) -> tuple[np.ndarray, None]:
    """PyOD's autoencoder on the pixels, with its own defaults."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(random_state=seed, verbose=0)
    model.fit(train.reshape(len(train), -1) / 255)
    return model.decision_function(test.reshape(len(test), -1) / 255), None


def main() -> None:
    method, folder, seed = {"padim": padim, "pyod_autoencoder": pyod_autoencoder}[sys.argv[1]], Path(sys.argv[2]), 0
    if len(sys.argv) > 3:
        seed = int(sys.argv[3])
    scores, maps = method(np.load(folder / "train.npy"), np.load(folder / "test.npy"), seed)
    np.save(folder / "scores.npy", np.asarray(scores, dtype=np.float32))
    if maps is not None:
        np.save(folder / "maps.npy", np.asarray(maps, dtype=np.float32))


if __name__ == "__main__":
    main()
