"""Any scorer, applied to overlapping patches of larger images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.patches import patch_starts


class PatchScorer(nn.Module):
    """Scorer: the mean of the highest patch scores; `map` (n, h, w) averages what the patches over each place say.

    Args:
        inner: scorer of patches (m, c, size, size).
        shape: (c, h, w) of the images.
        size, stride: of the patches in pixels; they are evenly spread from edge to edge, at most `stride` apart.
        top: how many of the highest patch scores are averaged; 1 is the papers' worst patch (G2D, section 4.3).

    A patch whose scorer has no map counts for all its places alike.
    """

    def __init__(self, inner: nn.Module, shape: tuple[int, int, int], size: int, stride: int, top: int = 1) -> None:
        super().__init__()
        self.inner = inner
        self._size = size
        _, height, width = shape
        for name, length in (("rows", height), ("columns", width)):
            places = torch.tensor(patch_starts(length, size, stride))[:, None] + torch.arange(size)
            self.register_buffer(name, places, persistent=False)
            # folding is a sum over patches: a matrix with a one where a patch's line lies on an image's line
            self.register_buffer(
                f"fold_{name}", nn.functional.one_hot(places.flatten(), length).T.float(), persistent=False
            )
        self._top = min(top, len(self.get_buffer("rows")) * len(self.get_buffer("columns")))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        rows, columns = self.get_buffer("rows"), self.get_buffer("columns")
        down, across, size = len(rows), len(columns), self._size
        cut = image[:, :, rows][:, :, :, :, columns]  # (n, c, down, size, across, size)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, image.shape[1], size, size)
        answers = self.inner(patches)
        scores = answers["score"].reshape(-1, down * across)
        if "map" in answers:
            places = answers["map"].reshape(-1, down, across, size, size)
        else:
            places = scores.reshape(-1, down, across, 1, 1).expand(-1, -1, -1, size, size)
        fold_rows, fold_columns = self.get_buffer("fold_rows"), self.get_buffer("fold_columns")
        lines = places.permute(0, 1, 3, 2, 4).reshape(-1, down * size, across * size)
        summed = fold_rows @ lines @ fold_columns.T
        counts = fold_rows.sum(dim=1)[:, None] * fold_columns.sum(dim=1)
        return {"score": scores.topk(self._top, dim=1).values.mean(dim=1), "map": summed / counts}
