"""Any scorer, applied to overlapping patches of larger images."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from ..data.patches import patch_starts

#: Values of an image's patches that go through the inner scorer at once; more would fill memory for large images.
_TOGETHER = 1 << 21
#: By how much of the range foreground differs from the background.
_DIFFERS = 0.1
#: A background from which every value in [0, 1] differs: all patches are foreground until a background is known.
_UNKNOWN = 2.0


class Foreground(nn.Module):
    """In which patches of a frame something stands or moves before the background of a still camera.

    A pixel is foreground where a channel differs from the background by more than a tenth of the range.

    Args:
        shape: (c, h, w) of the frames, values in [0, 1].
        size, stride: of the patches, see `PatchScorer`.
        share: of a patch's pixels that must be foreground, above 0.

    Shape: (n, c, h, w) to bool (n, r, s), for every row and column of patches.
    """

    def __init__(self, shape: tuple[int, int, int], size: int, stride: int, share: float) -> None:
        super().__init__()
        self.register_buffer("background", torch.full(shape, _UNKNOWN))
        for name, length in (("rows", shape[1]), ("columns", shape[2])):
            starts = torch.tensor(patch_starts(length, size, stride))
            self.register_buffer(name, starts[:, None] + torch.arange(size), persistent=False)
        self._fewest = max(1, math.ceil(share * size * size - 1e-6))

    def set_background(self, background: Tensor) -> None:
        """Take (c, h, w) as what the camera sees where nothing happens."""
        self.get_buffer("background").copy_(background)

    def forward(self, image: Tensor) -> Tensor:
        differs = ((image.float() - self.get_buffer("background")).abs().amax(dim=1) > _DIFFERS).float()
        across = differs[:, :, self.get_buffer("columns")].sum(dim=3)  # (n, h, s)
        count: Tensor = across[:, self.get_buffer("rows")].sum(dim=2)  # (n, r, s)
        return count >= self._fewest


class PatchScorer(nn.Module):
    """Scorer: the mean of the highest patch scores; `map` (n, h, w) averages the patches over each pixel.

    Where patches overlap, each weighs the more the nearer its centre is, so that no seam shows where one ends. Patches
    go through the inner scorer some rows at a time, so that memory does not grow with the image.

    Args:
        inner: scorer of patches (m, c, size, size).
        shape: (c, h, w) of the images.
        size, stride: of the patches in pixels; they are evenly spread from edge to edge, at most `stride` apart.
        top: how many of the highest patch scores are averaged; 1 is the papers' worst patch (G2D, section 4.3).
        foreground: score only patches with this share of pixels that differ from the background, if above 0. The others
            count as the most normal of the patches that were learnt from, and so does a frame without foreground.

    Where the inner scorer has no map, its score counts for all pixels of the patch alike.

    Shape: (n, c, h, w) to `score` (n,) and `map` (n, h, w).
    """

    def __init__(
        self,
        inner: nn.Module,
        shape: tuple[int, int, int],
        size: int,
        stride: int,
        top: int = 1,
        foreground: float = 0.0,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.foreground = Foreground(shape, size, stride, foreground) if foreground else None
        if foreground:
            self.register_buffer(
                "background_values", torch.zeros(2)
            )  # score, and value of the map, of what is no foreground
            self.register_load_state_dict_pre_hook(_without_background)  # type: ignore[no-untyped-call]
        self._size = size
        channels, height, width = shape
        inwards = torch.arange(size) + 0.5
        weight = torch.minimum(inwards, size - inwards)
        for name, length in (("rows", height), ("columns", width)):
            pixels = torch.tensor(patch_starts(length, size, stride))[:, None] + torch.arange(size)
            self.register_buffer(name, pixels, persistent=False)
            # folding is a sum over patches: a matrix with a weight where a patch's line lies on an image's line
            fold = nn.functional.one_hot(pixels.flatten(), length).T * weight.repeat(len(pixels))
            self.register_buffer(f"fold_{name}", fold / fold.sum(dim=1, keepdim=True), persistent=False)
        down, across = len(self.get_buffer("rows")), len(self.get_buffer("columns"))
        self._step = max(1, _TOGETHER // (across * channels * size * size))
        #: How many patch scores make the image's.
        self.top = min(top, down * across)

    def fit_foreground(self, background: Tensor, patches: Tensor) -> None:
        """Know the background (c, h, w), and what is most normal among foreground patches (m, c, size, size)."""
        assert self.foreground is not None
        self.foreground.set_background(background)
        with torch.inference_mode():
            outputs = [self.inner(part) for part in torch.split(patches, 256)]
        names = ("score", "map" if "map" in outputs[0] else "score")
        lowest = [min(float(each[name].min()) for each in outputs) for name in names]
        self.get_buffer("background_values").copy_(torch.tensor(lowest))

    def cut(self, image: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """All patches (m, c, size, size) of one image (c, h, w), and the row and column where each begins."""
        rows, columns = self.get_buffer("rows"), self.get_buffer("columns")
        corners = list(itertools.product(rows[:, 0].tolist(), columns[:, 0].tolist()))
        size = self._size
        return torch.stack([image[:, top : top + size, left : left + size] for top, left in corners]), corners

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        rows, columns = self.get_buffer("rows"), self.get_buffer("columns")
        fold_rows, fold_columns = self.get_buffer("fold_rows"), self.get_buffer("fold_columns")
        across, size = len(columns), self._size
        moving = None if self.foreground is None else self.foreground(image)  # (n, r, s)
        scores: list[Tensor] = []
        folded: Tensor | None = None
        for first in range(0, len(rows), self._step):
            some = rows[first : first + self._step]
            down = len(some)
            cut = image[:, :, some][:, :, :, :, columns]  # (n, c, down, size, across, size)
            patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, image.shape[1], size, size)
            outputs = self.inner(patches)
            score = outputs["score"].reshape(-1, down * across)
            if "map" in outputs:
                maps = outputs["map"].reshape(-1, down, across, size, size)
            else:
                maps = score.reshape(-1, down, across, 1, 1).expand(-1, -1, -1, size, size)
            if moving is not None:
                here, values = moving[:, first : first + down], self.get_buffer("background_values")
                score = torch.where(here.flatten(1), score, values[0])
                maps = torch.where(here[:, :, :, None, None], maps, values[1])
            lines = maps.permute(0, 1, 3, 2, 4).reshape(-1, down * size, across * size)
            part = fold_rows[:, first * size : (first + down) * size] @ lines @ fold_columns.T
            folded = part if folded is None else folded + part
            scores.append(score)
        assert folded is not None
        return {"score": torch.cat(scores, dim=1).topk(self.top, dim=1).values.mean(dim=1), "map": folded}


def _without_background(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Files written before scorers knew a background score all patches, as ever."""
    for name in ("background_values", "foreground.background"):
        state.setdefault(prefix + name, dict(module.named_buffers())[name])
