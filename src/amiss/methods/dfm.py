"""DFM: how well a picture's deep features are painted from the principal components of normal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import networks, training
from ..detectors.detector import Detector
from ..lazy import torch
from ..recipe.recipe import AUTO, Recipe
from ..settings import preset, setting

#: Images that are passed at once.
_TOGETHER = 64


@dataclass(kw_only=True, eq=False)
class DFM(Detector["networks.composed.ComposedScorer"]):
    """One feature vector for the whole image, and what the principal components of normal ones leave of it.

    The features of a backbone's coarsest level are averaged over the image and brought to length one. Of normal images'
    vectors, principal components are kept. Score: the length of what is left of an image's vector when its part along
    them is taken away (feature reconstruction error). Without a backbone, a small copy of the image is the vector.

    >>> DFM().get_params()["components"]
    50
    """

    title: ClassVar[str] = "Deep features of the whole image, from principal components"
    paper: ClassVar[str] = "Ahuja et al. 2019"
    family: ClassVar[str] = "reconstructs"
    good_for: ClassVar[str] = "pictures of one kind of thing, where another kind is amiss; seconds to fit"
    takes_backbone: ClassVar[bool] = True
    has_epochs: ClassVar[bool] = False

    features: str | None = preset(Recipe, "features", AUTO)
    components: int = setting(50, "principal components, but no more than a third of the images", low=1)
    small: int = setting(
        16, "longest side in pixels of the small copies that stand for features without a backbone", low=2
    )

    def wanted_features(self) -> frozenset[str]:
        return frozenset({"whole"})

    def build(
        self, shape: tuple[int, int, int], backbone: networks.backbone.Features | None = None
    ) -> networks.composed.ComposedScorer:
        if backbone is None:
            pool = networks.neighbours.Downsampled(shape, self.small)
            return _scorer(pool, pool.shape[0] * pool.shape[1] * pool.shape[2])
        gain, shift = backbone.unscaled(backbone.whole)
        return _scorer(networks.memory_bank.Channels(backbone.whole), len(backbone.whole), gain=gain, shift=shift)

    def stages(self, scorer: networks.composed.ComposedScorer) -> Sequence[training.stage.Computation]:
        def compute(context: training.stage.StageContext) -> dict[str, float]:
            parts = torch.split(torch.arange(len(context.train)), _TOGETHER)
            pool = scorer.get_submodule("pool")
            scale = {name: value for name, value in scorer.named_buffers() if name in ("gain", "shift")}
            found = [_embedded(context.train_features(part), pool, **scale).cpu() for part in parts]
            vectors = torch.cat(found).double()
            mean = vectors.mean(dim=0)
            _, lengths, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
            kept = directions[: max(1, min(self.components, len(vectors) // 3))]
            explained = lengths[: len(kept)].square().sum() / lengths.square().sum().clamp(min=1e-12)
            device = scorer.get_buffer("mean").device
            scorer.set_buffers(mean=mean.float().to(device), components=kept.float().to(device))
            return {"explained variance": float(explained)}

        return [training.stage.Computation("fit", compute)]


def _scorer(pool: torch.nn.Module, values: int, **buffers: torch.Tensor) -> networks.composed.ComposedScorer:
    return networks.composed.ComposedScorer(
        _score, pool=pool, mean=torch.zeros(values), components=torch.zeros(1, values), **buffers
    )


def _embedded(
    given: torch.Tensor,
    pool: torch.nn.Module,
    gain: torch.Tensor | None = None,
    shift: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled features (n, c, h, w), or images, to vectors (n, d): of features, their mean as the backbone gave it."""
    chosen: torch.Tensor = pool(given.float())
    if gain is None or shift is None:
        return chosen.flatten(1)
    return torch.nn.functional.normalize(chosen.mean(dim=(2, 3)) * gain + shift, dim=1)


def _score(
    given: torch.Tensor,
    pool: torch.nn.Module,
    mean: torch.Tensor,
    components: torch.Tensor,
    gain: torch.Tensor | None = None,
    shift: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    with torch.autocast(given.device.type, enabled=False):  # the score is a small difference
        centred = _embedded(given, pool, gain, shift) - mean
        left = centred - (centred @ components.T) @ components
    return {"score": left.square().sum(dim=1).sqrt()}
