"""ALPS: adversarially learned perturbations of latent space (Khazaie et al. 2022; thesis, chapter 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..detectors.reconstructor import Reconstructor
from ..settings import preset


@dataclass(kw_only=True, eq=False)
class ALPS(Reconstructor):
    """An autoencoder learns to reconstruct from codes that an adversary distorts as harmfully as it can.

    Four convolutions and global average pooling lead to the code, a dense layer and six transposed convolutions back
    (III-B). The distorter, an encoder like the first half, adds to the code; it moves every third epoch, a tenth as
    fast as the autoencoder (the paper: "every n epochs", and a larger weight for the reconstruction). The
    autoencoder learns from the normal path as well, as the text says ("in addition to reconstruction"); with
    normal_weight=0 from the perturbed one alone, as the printed objective does. Three
    scores: the error of the normal path, of the perturbed one, and their mean (III-D); the paper reports the best of
    the three for each class, a choice that has seen the anomalies. The default is the mean; `path_scores` gives all
    three.

    Filters, code length and strength are not printed, and ours.

    >>> ALPS(score="perturbed").get_params()["score"]
    'perturbed'
    """

    title: ClassVar[str] = "Adversarially learned perturbations of latent space"
    paper: ClassVar[str] = "Khazaie et al. 2022; thesis, ch. 3"
    good_for: ClassVar[str] = "small pictures of one kind of object"

    network: str = preset(Reconstructor, "network", "pooled")
    filters: tuple[int, ...] = preset(Reconstructor, "filters", (32, 64, 128, 64))
    compression: float = preset(Reconstructor, "compression", 0.0)
    code: str = preset(Reconstructor, "code", "distorter")
    score_path: str = preset(Reconstructor, "score", "mean")
    epochs: int = preset(Reconstructor, "epochs", 50)
