"""Classifiers of transformations (Golan & El-Yaniv 2018; Hendrycks et al. 2019), and neighbours in what they learn."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from .neighbours import Downsampled, GrowingBuffers

#: Of images moved: this share of each side.
_SHIFT = 0.25
#: Sideways, from the centre to the border, of images sheared, as a share of half the width.
_SHEAR = 0.4
#: Neurons of the hidden layer.
_HIDDEN = 128


def _matrix(turn: tuple[float, float, float, float] = (1, 0, 0, 1), shift: tuple[float, float] = (0, 0)) -> Tensor:
    a, b, c, d = turn
    return torch.tensor([[a, b, shift[0]], [c, d, shift[1]], [0, 0, 1]], dtype=torch.float32)


@functools.cache
def states(kind: str) -> Tensor:
    """(s, 3, 3) matrices of the states of a kind of transformation; the first leaves the image as it is.

    They lead from places of the transformed image to places of the given one, in halves of the sides, so that a quarter
    turn of an image that is no square also stretches it into its frame.

    >>> {kind: len(states(kind)) for kind in ("rotate", "shift", "flip", "shear")}
    {'rotate': 4, 'shift': 9, 'flip': 2, 'shear': 3}
    """
    found = {
        "rotate": [_matrix((1, 0, 0, 1)), _matrix((0, -1, 1, 0)), _matrix((-1, 0, 0, -1)), _matrix((0, 1, -1, 0))],
        "shift": [_matrix(shift=(2 * _SHIFT * x, 2 * _SHIFT * y)) for y in (0, -1, 1) for x in (0, -1, 1)],
        "flip": [_matrix(), _matrix((-1, 0, 0, 1))],
        "shear": [_matrix(), _matrix((1, -_SHEAR, 0, 1)), _matrix((1, _SHEAR, 0, 1))],
    }
    return torch.stack(found[kind])


def grids(matrices: Tensor, height: int, width: int) -> Tensor:
    """Matrices (n, 3, 3) of `states` as grids (n, height, width, 2) of places to sample."""
    return functional.affine_grid(matrices[:, :2], [len(matrices), 1, height, width], align_corners=False)


def transformed(images: Tensor, grids: Tensor) -> Tensor:
    """Images (n, c, h, w), each sampled at its grid (n, h, w, 2), or all at one (1, h, w, 2); mirrored at the border.

    >>> image = torch.arange(9.0).view(1, 1, 3, 3)
    >>> torch.allclose(transformed(image, grids(states("rotate")[1:2], 3, 3)), image.rot90(1, (2, 3)), atol=1e-5)
    True
    """
    grids = grids.expand(images.shape[0], -1, -1, -1).to(images)
    seen = functional.grid_sample(images, grids, padding_mode="reflection", align_corners=False)
    return seen.contiguous(memory_format=torch.channels_last)


def draw_states(count: int, kinds: Sequence[str], generator: Generator) -> tuple[Tensor, Tensor]:
    """States for `count` images: labels (count, k), one for each kind, and the matrices (count, 3, 3) they make.

    Of the first kind every state comes equally often, of the others each is drawn.
    """
    first = torch.arange(count) % len(states(kinds[0]))
    drawn = [torch.randint(len(states(kind)), (count,), generator=generator) for kind in kinds[1:]]
    labels = torch.stack([first, *drawn], dim=1)
    matrices = torch.eye(3)
    for number, kind in enumerate(kinds):
        matrices = matrices @ states(kind)[labels[:, number]]
    return labels, matrices


def _block(before: int, after: int, strides: tuple[int, int] = (1, 1)) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, strides, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


class TransformationClassifier(nn.Module):
    """Tells in which state of each kind of transformation an image is: convolutions, their mean, one hidden layer.

    Sides are halved three times, or while more than four pixels are left.

    Args:
        shape: (c, h, w) of the images.
        width: filters of the first level; the three below have 2, 4 and 4 times as many.
        kinds: of `states`.

    Shape: (n, c, h, w) to logits, (n, s) for each kind.

    >>> classifier = TransformationClassifier((1, 28, 28), 8, ["rotate", "shift"])
    >>> classifier.shape, [tuple(logits.shape) for logits in classifier(torch.zeros(2, 1, 28, 28))]
    ((32, 4, 4), [(2, 4), (2, 9)])
    """

    def __init__(self, shape: tuple[int, int, int], width: int, kinds: Sequence[str]) -> None:
        super().__init__()
        channels, height, width_in_pixels = shape
        sides = [height, width_in_pixels]
        layers = _block(channels, width)
        for before, after in pairwise((width, 2 * width, 4 * width, 4 * width)):
            layers += _block(before, before, (2 if sides[0] > 4 else 1, 2 if sides[1] > 4 else 1))
            layers += _block(before, after)
            sides = [-(-side // 2) if side > 4 else side for side in sides]
        #: (d, h', w') of the features.
        self.shape = (4 * width, sides[0], sides[1])
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(4 * width, _HIDDEN, bias=False), nn.BatchNorm1d(_HIDDEN), nn.ReLU())
        self.answers = nn.ModuleList(nn.Linear(_HIDDEN, len(states(kind))) for kind in kinds)

    def forward(self, images: Tensor) -> list[Tensor]:
        hidden = self.hidden(self.features(images).mean(dim=(2, 3)))
        return [answer(hidden) for answer in self.answers]


class TransformationScorer(GrowingBuffers):
    """Scorer: how far the features of an image lie from those of the nearest normal ones, in every view of it.

    Views are the states of the first kind of transformation. The features of a view are averaged over each quarter of
    the map, brought to length 1, and to principal components of about equal variance. Distances there to the nearest
    neighbours are averaged. Features of what the network does not know are short (Tack et al. 2020, section 2.2): the
    mean length of normal ones over the image's own, to the power `length_power`, multiplies the distance. `score` is
    the mean over the views.

    Args:
        shape: (c, h, w) of the images.
        side: of the downsampled images, at most, in pixels.
        width: see `TransformationClassifier`.
        kinds: see `TransformationClassifier`.
        neighbours: how many distances are averaged; all, where fewer images are kept.
        length_power: see above; 0 leaves lengths out.

    Shape: (n, c, h, w) to `score` (n,).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        side: int,
        width: int,
        kinds: Sequence[str],
        neighbours: int,
        length_power: float,
    ) -> None:
        super().__init__("projection", "kept")
        self.downsample = Downsampled(shape, side)
        self.classifier = TransformationClassifier(self.downsample.shape, width, kinds)
        self._neighbours, self._length_power = neighbours, length_power
        channels, height, width_in_pixels = self.classifier.shape
        views = grids(states(kinds[0]), *self.downsample.shape[1:])
        self.register_buffer("views", views, persistent=False)
        self.register_buffer("rows", _halves(height), persistent=False)
        self.register_buffer("columns", _halves(width_in_pixels), persistent=False)
        self.set_buffers(
            length=torch.ones(len(views), 1),
            mean=torch.zeros(len(views), 1, 4 * channels),
            projection=torch.zeros(len(views), 4 * channels, 1),
            kept=torch.zeros(len(views), 1, 1),
        )

    def describe(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) to the features (v, n, d) of their views."""
        rows, columns, found = self.get_buffer("rows"), self.get_buffer("columns"), []
        with torch.autocast(images.device.type, enabled=False):  # half precision is too coarse for near neighbours
            small = self.downsample(images.float())
            for view in self.get_buffer("views"):
                features = self.classifier.features(transformed(small, view[None]))
                found.append((rows @ features @ columns.T).flatten(1))
        return torch.stack(found)

    def fit(self, features: Tensor, components: int, shrinkage: float) -> None:
        """Fit lengths and components to the features (v, m, d) of normal images, and keep these.

        Args:
            features: of `describe`.
            components: how many principal components are kept, at most.
            shrinkage: added to every variance, as a share of the mean variance.
        """
        directions = functional.normalize(features, dim=2)
        mean = directions.mean(dim=1, keepdim=True)
        centred = (directions - mean).cpu().double()  # not every device has float64
        variances, axes = torch.linalg.eigh(centred.mT @ centred / features.shape[1])  # in rising order
        added = shrinkage * variances.mean(dim=1, keepdim=True).clamp(min=1e-12)
        projection = axes / (variances.clamp(min=0) + added).sqrt()[:, None, :]
        self.set_buffers(
            length=features.norm(dim=2).mean(dim=1, keepdim=True),
            mean=mean,
            projection=projection[:, :, -components:].to(features),
        )
        self.set_buffers(kept=self._projected(features))

    def _projected(self, features: Tensor) -> Tensor:
        """Features (v, n, d) to components (v, n, k)."""
        return (functional.normalize(features, dim=2) - self.get_buffer("mean")) @ self.get_buffer("projection")

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.describe(image)
        with torch.autocast(image.device.type, enabled=False):
            kept, asked = self.get_buffer("kept"), self._projected(features)
            squared = asked.square().sum(dim=2, keepdim=True) + kept.square().sum(dim=2)[:, None] - 2 * asked @ kept.mT
            nearest = squared.topk(min(self._neighbours, kept.shape[1]), dim=2, largest=False).values
            distances = nearest.clamp(min=1e-12).sqrt().mean(dim=2)
            shortness = self.get_buffer("length") / features.norm(dim=2).clamp(min=1e-12)
            return {"score": (distances * shortness**self._length_power).mean(dim=0)}


def _halves(side: int) -> Tensor:
    """(2, side) weights that average the first and the last half; the middle of an odd side is in both."""
    half = -(-side // 2)
    weights = torch.zeros(2, side)
    weights[0, :half] = weights[1, side - half :] = 1 / half
    return weights
