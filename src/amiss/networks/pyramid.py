"""A regressor on a feature pyramid that answers at every location of an image, and its scorer (Located ADACL)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .memory_bank import MemoryBank, resized, top_mean, upsampled

#: Strides of the levels in pixels, and how many levels a memory bank gets.
_STRIDES, _GIVEN = (4, 8, 16, 32), 3

#: Outputs of a regressor at a location, beside its answer, in training: by how much it became brighter, how unevenly,
#: and by which factor its contrast changed.
DESCRIBED = 3


def _answer(channels: int) -> nn.Conv2d:
    """The last layer; its weights start at zero, so every answer is 0 at first."""
    layer = nn.Conv2d(channels, 1 + DESCRIBED, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)
    )


class PyramidRegressor(nn.Module):
    """A feature pyramid: strided levels down, merged on the way up, one answer for every location.

    Args:
        shape: (c, h, w) of the images. There are levels at strides 4, 8, 16 and 32, but none so coarse that fewer than
            2 locations would be left along a side.
        width: filters of the first convolution; those of the levels are 2, 3, 4 and 4 times as many.
        map_stride: pixels from one location to the next, 4 or 8.
        dropout: share of the filters of every level that each training step goes without.

    Shape: (n, c, h, w) float32 in [0, 1] to levels, up to three of (n, d, h', w') at strides 4, 8 and 16, and answers
    (n, h / map_stride, w / map_stride), unbounded. `describe` also gives `DESCRIBED` figures of each location.

    >>> levels, answers = PyramidRegressor((1, 32, 48), 8, 4)(torch.zeros(2, 1, 32, 48))
    >>> [tuple(level.shape) for level in levels], tuple(answers.shape)
    ([(2, 16, 8, 12), (2, 24, 4, 6), (2, 32, 2, 3)], (2, 8, 12))
    """

    def __init__(self, shape: tuple[int, int, int], width: int, map_stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        count = sum(min(shape[1:]) > stride for stride in _STRIDES)
        widths = [times * width for times in (2, 3, 4, 4)][: max(1, count)]
        #: Filters of the levels that are given out.
        self.widths = tuple(widths[:_GIVEN])
        self.first = _block(shape[0], width, 2)
        self.levels = nn.ModuleList(
            nn.Sequential(_block(before, after, 2), _block(after, after), nn.Dropout2d(dropout))
            for before, after in pairwise((width, *widths))
        )
        merged = 2 * width
        self.lateral = nn.ModuleList(nn.Conv2d(each, merged, 1) for each in widths)
        self._finest = min(_STRIDES.index(map_stride), len(widths) - 1)
        self.smooth = nn.ModuleList(_block(merged, merged) for _ in range(self._finest, min(2, len(widths))))
        self.answer = _answer(merged)

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        levels, answers, _ = self.describe(image)
        return levels, answers

    def describe(self, image: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Levels, answers, and (n, `DESCRIBED`, h', w') what happened at each location."""
        levels = []
        value = self.first(image)
        for level in self.levels:
            value = level(value)
            levels.append(value)
        merged = self.lateral[-1](levels[-1])
        for number in reversed(range(self._finest, len(levels))):
            if number < len(levels) - 1:
                merged = self.lateral[number](levels[number]) + resized(merged, levels[number])
            if number - self._finest < len(self.smooth):  # the coarse levels go on as they are
                merged = self.smooth[number - self._finest](merged)
        outputs = self.answer(merged)
        return levels[:_GIVEN], outputs[:, 0], outputs[:, 1:]


class FeatureRegressor(nn.Module):
    """As `PyramidRegressor`, on the features (n, d, h, w) of a backbone: one level, and two convolutions that answer.

    Args:
        channels: d of the features.
        width: the convolutions in between have twice as many filters.

    Shape: (n, d, h, w) to levels, these features alone, and answers (n, h, w).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.widths = (channels,)
        self.narrow = nn.Sequential(nn.Conv2d(channels, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width))
        self.between = nn.Sequential(nn.LeakyReLU(0.1), _block(2 * width, 2 * width), _block(2 * width, 2 * width))
        self.answer = _answer(2 * width)

    def forward(self, features: Tensor) -> tuple[list[Tensor], Tensor]:
        levels, answers, _ = self.describe(features)
        return levels, answers

    def describe(self, features: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        outputs = self.answer(self.between(self.narrow(features)))
        return [features], outputs[:, 0], outputs[:, 1:]


class PyramidScorer(nn.Module):
    """Scorer: the regressor's answers and, where there is one, the distance of its features to a memory bank.

    Both maps are brought to mean 0 and deviation 1 over the locations of normal images (`fit_scale`) and added. `score`
    is the mean of the highest locations; `map` all of them, upsampled to the image's size.

    Args:
        regressor: gives levels and answers.
        size: (h, w) of the images in pixels.
        top: share of the locations that are averaged, at least one location.
        memory: of the levels' patch features; None scores by the answers alone.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(
        self,
        regressor: PyramidRegressor | FeatureRegressor,
        size: tuple[int, int],
        top: float,
        memory: MemoryBank | None,
    ) -> None:
        super().__init__()
        self.regressor: PyramidRegressor | FeatureRegressor = regressor
        self.memory = memory
        self._size, self._top = size, top
        for name in ("answers", "distances"):
            self.register_buffer(f"{name}_mean", torch.zeros(()))
            self.register_buffer(f"{name}_deviation", torch.ones(()))

    def parts(self, image: Tensor) -> dict[str, Tensor]:
        """`answers` and perhaps `distances`, each (n, h', w') on its own grid, unscaled."""
        levels, answers = self.regressor(image)
        parts = {"answers": answers.float()}
        if self.memory is not None:
            parts["distances"] = self.memory(self.memory.patch_features(levels))
        return parts

    def fit_scale(self, parts: dict[str, Tensor]) -> None:
        """Fit the scale of each part to the parts of normal images that nothing was learnt from."""
        for name, values in parts.items():
            deviation, mean = torch.std_mean(values.double())
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_deviation").copy_(deviation.clamp(min=1e-6))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fused: Tensor | None = None
        for name, values in self.parts(image).items():
            scaled = (values - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_deviation")
            fused = scaled if fused is None else fused + resized(scaled[:, None], fused[:, None])[:, 0]
        assert fused is not None
        return {"score": top_mean(fused, self._top), "map": upsampled(fused, self._size)}
