"""Anomalies of motion created from normal clips: things that move too fast, and things that are too large.

Whole-batch tensor operations; random numbers come from the CPU generator that is handed in. That skipped frames make
useful anomalies is known from Astrid et al., arXiv 2110.09742; here they are local, and every pixel has its label.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .local import log_between, regions, softened

#: A pixel moves where its brightness changes by more than this within a clip, in units of [0, 1].
_MOVES = 0.06
#: A change counts where it exceeds this in some frame.
_VISIBLE = 0.06
#: By how much moving things are enlarged.
_ENLARGED = (1.3, 2.5)


class MotionAnomalies:
    """Creates anomalies of motion in clips.

    Args:
        kinds: of `kinds.MOTION`.
        frames: t of the clips that are made.
        fastest: how many times too fast things move at most, at least 2; the given clips must hold
            (t - 1) * fastest + 1 frames.

    >>> generator = torch.Generator().manual_seed(0)
    >>> normal = torch.rand(4, 7, 1, 32, 32, generator=generator)
    >>> clips, changed = MotionAnomalies(["speed"], frames=3, fastest=3).create(normal, generator)
    >>> clips.shape, changed.shape
    (torch.Size([4, 3, 1, 32, 32]), torch.Size([4, 1, 32, 32]))
    """

    def __init__(self, kinds: list[str], frames: int, fastest: int) -> None:
        self._kinds, self._frames, self._fastest = kinds, frames, fastest

    @staticmethod
    def length(frames: int, fastest: int) -> int:
        """Frames that a clip must hold, of which anomalies are to be created."""
        return (frames - 1) * fastest + 1

    def normal(self, clips: Tensor) -> Tensor:
        """(n, t, c, h, w): the last frames, as they are."""
        return clips[:, -self._frames :]

    def create(self, clips: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One created anomaly for each of the clips (n, l, c, h, w) in [0, 1].

        Returns: the created clips (n, t, c, h, w), and (n, 1, h, w) float32: 1 where some frame has visibly
        changed, else 0. Where nothing moves, nothing can move too fast.
        """
        n, size = len(clips), clips.shape[3:]
        before = self.normal(clips)
        kind = torch.randint(len(self._kinds), (n,), generator=generator)
        region = softened(regions(n, size, torch.zeros(n, dtype=torch.bool), generator, clips.device))
        filling, cover = before.clone(), region.clone()
        for number, name in enumerate(self._kinds):
            where = (kind == number).nonzero()[:, 0].to(clips.device)
            if not len(where):
                continue
            if name == "speed":
                filling[where] = self._faster(clips[where], generator)
            else:
                filling[where], moving = self._larger(before, where, generator)
                cover[where] = cover[where] * moving
        created = before + cover[:, None] * (filling - before)
        difference = (created - before).abs().mean(dim=2).amax(dim=1, keepdim=True)
        changed = (functional.avg_pool2d(difference, 3, 1, 1) > _VISIBLE).to(clips)
        return created, _closed(changed)

    def _faster(self, clips: Tensor, generator: Generator) -> Tensor:
        """The clip played 2 to `fastest` times too fast; its last frame, or its first, is where it was."""
        n, given = len(clips), clips.shape[1]
        speed = torch.randint(2, self._fastest + 1, (n, 1), generator=generator)
        back = torch.arange(self._frames - 1, -1, -1)[None]
        ends_alike = given - 1 - back * speed
        starts_alike = given - self._frames + (self._frames - 1 - back) * speed
        within = starts_alike[:, -1:] < given
        chosen = torch.where((torch.rand(n, 1, generator=generator) < 0.5) & within, starts_alike, ends_alike)
        return clips[torch.arange(n)[:, None], chosen.clamp(max=given - 1)]

    def _larger(self, clips: Tensor, where: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Clips of the batch, enlarged; and (k, 1, h, w) where something moves in them, from 0 to 1."""
        k = len(where)
        others = clips[torch.randint(len(clips), (k,), generator=generator).to(clips.device)]
        moving = (others.amax(dim=1) - others.amin(dim=1)).amax(dim=1, keepdim=True) > _MOVES
        spread = functional.avg_pool2d(functional.max_pool2d(moving.to(clips), 7, 1, 3), 5, 1, 2)
        scale = 1 / log_between(*_ENLARGED, generator, k)
        flip = torch.where(torch.rand(k, generator=generator) < 0.5, -1.0, 1.0)
        room = 1 - scale
        shift = room[:, None] * (2 * torch.rand(k, 2, generator=generator) - 1)
        zero = torch.zeros(k)
        rows = torch.stack([flip * scale, zero, shift[:, 0], zero, scale, shift[:, 1]], dim=1).view(k, 2, 3)
        planes = torch.cat([others.flatten(1, 2), spread], dim=1)
        grid = functional.affine_grid(rows, list(planes.shape), align_corners=False).to(planes)
        moved = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
        return moved[:, :-1].view_as(others), moved[:, -1:]


def _closed(mask: Tensor) -> Tensor:
    """(n, 1, h, w) of 0 and 1, with small gaps filled."""
    grown = functional.max_pool2d(mask, 5, 1, 2)
    return -functional.max_pool2d(-grown, 3, 1, 1)
