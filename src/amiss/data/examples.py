"""Example data for a demonstration: real pictures that are on this machine already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..environment import versions
from .arrays import array_collection
from .collection import Collection, Item
from .grammar import open_images
from .known import known_sets

_NORMAL_DIGIT = 6
_TEST_SHARE = 0.3


@dataclass(frozen=True)
class DemoData:
    """Normal images to learn from, labelled unseen ones to be scored, and plain words for both.

    Attributes:
        normal: what is learnt.
        labelled: unseen images, normal and anomalous.
        words: what the pictures are, in a sentence.
        false_alarm_rate: what can be promised with so many images.
    """

    normal: Collection
    labelled: Collection
    words: str
    false_alarm_rate: float


def demo_data() -> DemoData:
    """Fashion-MNIST where it is on disk, else the handwritten digits that come with scikit-learn; no download."""
    if known_sets()["fashion-mnist"].locate() is None:
        return _digits()
    normal = open_images("fashion-mnist:train:normal=9", "fit").normal
    labelled = open_images("fashion-mnist:test:normal=9", "eval")
    words = "Fashion-MNIST: photographs of clothes, 28x28 pixels. Ankle boots are normal; everything else is amiss"
    return DemoData(normal, labelled, words, 0.01)


def _digits() -> DemoData:
    versions.require("train", "the demonstration", "sklearn")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    read = array_collection(images, "digits")
    items = [
        Item(read[int(i)].name, read[int(i)].read, str(digits.target[i]), bool(digits.target[i] != _NORMAL_DIGIT))
        for i in order
    ]
    normal = [item for item in items if not item.anomalous]
    test = round(_TEST_SHARE * len(normal))
    labelled = normal[:test] + [item for item in items if item.anomalous]
    words = (
        "handwritten digits that come with scikit-learn, 8x8 pixels. Sixes are normal; every other digit is amiss. "
        "(With Fashion-MNIST on disk the demonstration uses that)"
    )
    return DemoData(
        Collection(normal[test:], "digits: sixes"), Collection(labelled, "digits: unseen ones"), words, 0.05
    )
