"""Runs a method of rivals.py in its own environment, and measures what it found as amiss is measured."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from amiss.data import Collection, Item
from amiss.data.masks import read_mask
from amiss.data.preprocessing import Preprocessing
from amiss.metrics import Ranking, localisation
from amiss.networks import efficientnet_lite

#: One thread; and glibc keeps freed memory, as amiss has it do for itself: PatchCore's coreset is five times faster.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


@dataclass(frozen=True)
class Found:
    """What a rival says of test images, in their order.

    Attributes:
        scores: (n,), higher = more anomalous.
        maps: (n, h, w), or None.
        facts: what `rivals.py` writes: seconds, size, memory, versions, threshold.
    """

    scores: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    facts: dict[str, Any]


def run_rival(python: str, method: str, train: Path, test: Path, seed: int = 0) -> Found:
    """Learn `train` and score `test`, each a folder or an .npy file, with a method of rivals.py."""
    script = Path(__file__).with_name("rivals.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [python, "-W", "ignore", script, method, train.absolute(), test.absolute(), folder, str(seed)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, env=os.environ | _ENVIRONMENT)
        maps = np.load(folder / "maps.npy") if (folder / "maps.npy").exists() else None
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        if (folder / "features.npz").exists():
            facts["features_differ"] = _features_differ(np.load(folder / "features.npz"))
        return Found(np.load(folder / "scores.npy"), maps, facts)


def _features_differ(found: Any) -> float:
    """By how much the rival's features of strides 8 and 16 differ from amiss's, as a share of the largest value."""
    graph = efficientnet_lite.backbone_graph(efficientnet_lite.weights_of("efficientnet_lite0"), True, False)
    own = onnxruntime.InferenceSession(graph).run(None, {"image": found["image"]})
    differ = [
        np.abs(mine - _averaged(found[name], mine.shape)).max() / np.abs(mine).max()
        for mine, name in zip(own, ("blocks.2", "blocks.4"), strict=True)
    ]
    return float(max(differ))


def _averaged(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Feature maps (n, c, h, w) as means over squares, at the height and width of `shape`."""
    *_, height, width = shape
    n, channels, *sides = values.shape
    return values.reshape(n, channels, height, sides[0] // height, width, sides[1] // width).mean(axis=(3, 5))


def places(found: Found, items: Collection | Sequence[Item], spec: Preprocessing) -> dict[str, float | None]:
    """`pixel_auroc` and `au_pro` of the maps, which are of the size of `spec`; None without maps or masks."""
    if found.maps is None or not any(item.mask for item in items):
        return {"pixel_auroc": None, "au_pro": None}
    nothing = np.zeros(found.maps.shape[1:], dtype=np.bool_)
    masks = [read_mask(item.mask, spec) if item.anomalous and item.mask else nothing for item in items]
    return dict(localisation(list(found.maps), masks))


def auroc(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """Of the images; labels are True where an image is anomalous."""
    return float(Ranking(scores, labels).auroc())
