"""Local anomalies created from normal images: small, somewhere, with the pixels they changed (thesis, section 5.4).

Whole-batch tensor operations, but for Poisson edges, of which a bank is made ahead. Random numbers come from the CPU
generator that is handed in, so that a seed means the same on every device. The idea of blended patches and of labels
that ask what can be seen follows Schlueter et al., arXiv 2109.15222, "natural synthetic anomalies".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from .kinds import LOCAL

#: Smallest side of a changed region in pixels, and the largest as a share of the image's: a quarter of its area.
_SMALLEST, _LARGEST = 3.0, 0.5
#: Regions in one created anomaly: the first always, each further one in half of the images.
_REGIONS = 3
#: One region in four lies on the image's border: this share of each side beyond the image is brought back to it. Chips
#: sit at the edges of a part, and pictures are often cut there.
_BORDER = 0.08
#: A change counts where it exceeds this, plus half of the image's own grain, both in units of [0, 1].
_VISIBLE = 0.01
_BANK_SIZE = 512
#: Pixels around an image before it goes to OpenCV, whose clone needs a border.
_MARGIN = 2
#: OpenCV clones no region that is smaller, in pixels.
_BLENDED = 3


class LocalAnomalies:
    """Creates local anomalies of some kinds, with some edges.

    Args:
        kinds: of `kinds.LOCAL`: `paste` a patch of the same or another image, moved, turned, mirrored and scaled; a
            thin `scar`, dark, light or of such a patch; a change of `light`; a change of `texture` (blurred, sharpened,
            grainy, cloudy).
        edges: of `kinds.EDGES`. The bank that `poisson` needs is made by `prepare`; without it, those images get soft
            edges.

    >>> generator = torch.Generator().manual_seed(0)
    >>> normal = torch.rand(4, 1, 32, 32, generator=generator)
    >>> created, changed = LocalAnomalies(["paste", "scar"], ["hard"]).create(normal, generator)
    >>> created.shape, changed.shape
    (torch.Size([4, 1, 32, 32]), torch.Size([4, 1, 32, 32]))
    """

    def __init__(self, kinds: Sequence[str], edges: Sequence[str]) -> None:
        self._kinds, self._edges = list(kinds), list(edges)
        self._bank: tuple[Tensor, Tensor] | None = None

    @property
    def needs_bank(self) -> bool:
        """Are some edges blended ahead, by `prepare`?"""
        return "poisson" in self._edges

    def prepare(self, images: Tensor, generator: Generator, count: int = _BANK_SIZE) -> None:
        """Blend `count` anomalies with Poisson edges into images (m, c, h, w), for `create` to choose from."""
        chosen = images[torch.randint(len(images), (count,), generator=generator)].cpu()
        others = images[torch.randint(len(images), (count,), generator=generator)].cpu()
        filling = _moved(others, generator)
        mask = regions(count, images.shape[2:], torch.zeros(count, dtype=torch.bool), generator, chosen.device)
        blended = torch.stack([_cloned(*each) for each in zip(filling, chosen, mask, strict=True)])
        self._bank = blended, _visible(chosen, blended, mask)

    def create(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One created anomaly for each image (n, c, h, w) in [0, 1].

        Returns: the created images (n, c, h, w), and (n, 1, h, w) float32: 1 where a change can be seen, else 0. A
        change that drowns in the image's own grain is none.
        """
        n = len(images)
        kind = torch.randint(len(self._kinds), (n,), generator=generator)
        thin = torch.tensor([each == "scar" for each in self._kinds])[kind]
        mask = regions(n, images.shape[2:], thin, generator, images.device)
        filling = images.clone()
        for number, name in enumerate(self._kinds):
            where = (kind == number).nonzero()[:, 0].to(images.device)
            if len(where):
                filling[where] = _FILLINGS[name](images, where, mask[where], generator).clamp(0, 1)
        edge = torch.randint(len(self._edges), (n,), generator=generator)
        soft = torch.tensor([each != "hard" for each in self._edges])[edge].to(images.device)
        opacity = between(0.5, 1, generator, n, 1, 1, 1).to(images.device)
        cover = torch.where(soft[:, None, None, None], softened(mask), mask) * opacity
        created = images + cover * (filling - images)
        changed = _visible(images, created, cover > 0.1)
        if self._bank is not None:
            blended, blended_changed = self._bank
            take = torch.tensor([each == "poisson" for each in self._edges])[edge]
            which = torch.randint(len(blended), (int(take.sum()),), generator=generator)
            created[take.to(images.device)] = blended[which].to(images)
            changed[take.to(images.device)] = blended_changed[which].to(images)
        return created, changed


def paste_defects(images: Tensor, defects: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Defects that are known, cut out of their images, moved, and pasted into normal ones.

    Args:
        images: (n, c, h, w) in [0, 1], normal.
        defects: (n, c, h, w), one for each.
        masks: (n, 1, h, w), 1 where the defect is, else 0.

    Returns: as `LocalAnomalies.create`.
    """
    moved = _moved(torch.cat([defects, masks.to(defects)], dim=1), generator)
    filling, mask = moved[:, :-1], (moved[:, -1:] > 0.5).to(images)
    soft = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    cover = torch.where(soft[:, None, None, None], softened(mask), mask)
    created = images + cover * (filling - images)
    return created, _visible(images, created, cover > 0.1)


def described(before: Tensor, after: Tensor, size: Sequence[int]) -> Tensor:
    """What happened at each location of a grid of `size` (h', w') between images (n, c, h, w): (n, 3, h', w').

    By how much it became brighter (in tenths of the range), how unevenly (deviation, in tenths), and the logarithm of
    the factor by which its contrast changed.
    """

    def mean(values: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(values.mean(dim=1, keepdim=True), (size[0], size[1]))

    def variance(values: Tensor) -> Tensor:
        return (mean(values.square()) - mean(values).square()).clamp(min=0)

    change = after - before
    contrast = (variance(after) + 1e-6).log() - (variance(before) + 1e-6).log()
    return torch.cat([10 * mean(change), 10 * variance(change).sqrt(), contrast], dim=1)


def between(low: float, high: float, generator: Generator, *shape: int) -> Tensor:
    """Uniform random numbers (*shape) on the CPU."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def log_between(low: float, high: float, generator: Generator, n: int) -> Tensor:
    """(n,) random numbers whose logarithms are uniform, on the CPU."""
    return between(math.log(low), math.log(high), generator, n).exp()


def regions(n: int, size: Sequence[int], thin: Tensor, generator: Generator, device: torch.device) -> Tensor:
    """Masks (n, 1, h, w), 0 or 1: rectangles, ellipses and clouds, turned any way; bent lines where `thin`."""
    height, width = size
    side = math.sqrt(height * width)
    count = n * _REGIONS
    thin = thin.repeat_interleave(_REGIONS)
    scale = log_between(_SMALLEST, max(_LARGEST * side, _SMALLEST + 1), generator, count)
    aspect = log_between(0.55, 1.8, generator, count)
    length = torch.where(thin, log_between(0.08, 0.7, generator, count) * side, scale * aspect)
    breadth = torch.where(thin, log_between(1.2, max(0.06 * side, 1.5), generator, count), scale / aspect)
    angle = between(0, math.pi, generator, count)
    bend = torch.where(thin, between(-0.15, 0.15, generator, count) * length, torch.zeros(count))
    form = torch.randint(3, (count,), generator=generator)
    there = (torch.arange(count) % _REGIONS == 0) | (torch.rand(count, generator=generator) < 0.5)
    breadth = torch.where(there, breadth, torch.full((count,), 1e-6))
    centre_y, centre_x = (
        between(-_BORDER, 1 + _BORDER, generator, count).clamp(0, 1) * each for each in (height, width)
    )
    noise = _clouds(count, height, width, 16, generator).to(device)[:, 0]

    def spread(values: Tensor) -> Tensor:
        return values.to(device)[:, None, None]

    down = torch.arange(height, device=device)[None, :, None] + 0.5 - spread(centre_y)
    across = torch.arange(width, device=device)[None, None, :] + 0.5 - spread(centre_x)
    along = (across * spread(angle.cos()) + down * spread(angle.sin())) / spread(length / 2)
    aside = down * spread(angle.cos()) - across * spread(angle.sin())
    aside = (aside + spread(bend) * along.square()) / spread(breadth / 2)
    ellipse = (along.square() + aside.square()).sqrt()
    box = torch.maximum(along.abs(), aside.abs())
    rough = spread(torch.where(thin, 0.25, 0.45) * (form == 2))
    inside = torch.where(spread((form == 0) & ~thin), box, ellipse + rough * noise) < 1
    mask = inside.view(n, _REGIONS, height, width).any(dim=1, keepdim=True)
    return mask.float()


def _clouds(n: int, height: int, width: int, cells: int, generator: Generator) -> Tensor:
    """Smooth noise (n, 1, h, w) of mean 0 and deviation about 1, with `cells` hills along each side."""
    hills = torch.randn(n, 1, min(cells, height), min(cells, width), generator=generator)
    return 1.3 * functional.interpolate(hills, size=(height, width), mode="bilinear", align_corners=False)


def softened(mask: Tensor) -> Tensor:
    """Masks (n, 1, h, w) with soft edges."""
    return functional.avg_pool2d(functional.avg_pool2d(mask, 5, 1, 2), 5, 1, 2)


def _visible(before: Tensor, after: Tensor, where: Tensor) -> Tensor:
    grain = (before - functional.avg_pool2d(before, 3, 1, 1)).abs().mean(dim=(1, 2, 3), keepdim=True)
    difference = functional.avg_pool2d((after - before).abs().mean(dim=1, keepdim=True), 3, 1, 1)
    return ((difference > _VISIBLE + 0.5 * grain) & (where > 0)).to(before.dtype)


def _moved(images: Tensor, generator: Generator) -> Tensor:
    """Shifted, half of them turned, half mirrored, scaled by 0.6 to 1.65; mirrored at the border."""
    n = len(images)
    angle = between(-math.pi, math.pi, generator, n) * (torch.rand(n, generator=generator) < 0.5)
    scale = log_between(0.6, 1.65, generator, n)
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    rows = [flip * scale * angle.cos(), -scale * angle.sin(), flip * scale * angle.sin(), scale * angle.cos()]
    turn = torch.stack(rows, dim=1).view(n, 2, 2)
    shift = between(-1, 1, generator, n, 2, 1)
    grid = functional.affine_grid(torch.cat([turn, shift], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid.to(images), padding_mode="reflection", align_corners=False)


def _patches(images: Tensor, where: Tensor, generator: Generator) -> Tensor:
    """For each image of `where` another view of it, or, in seven of ten cases, of some image of the batch."""
    other = torch.randint(len(images), (len(where),), generator=generator)
    own = torch.rand(len(where), generator=generator) < 0.3
    return _moved(images[torch.where(own, where.cpu(), other).to(images.device)], generator)


def _amounts(n: int, channels: int, generator: Generator) -> Tensor:
    """Signed amounts (n, channels, 1, 1) of 0.04 to 0.5, darker ones more often; a third of them tinted."""
    sign = torch.where(torch.rand(n, generator=generator) < 0.6, -1.0, 1.0)
    amount = (sign * log_between(0.04, 0.5, generator, n))[:, None]
    tinted = (torch.rand(n, 1, generator=generator) < 1 / 3).float()
    tint = 1 + tinted * between(-1, 1, generator, n, channels) * (channels > 1)
    return (amount * tint)[:, :, None, None]


def _paste(images: Tensor, where: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    """A patch; in four of ten cases brought to the brightness of what it covers."""
    target, patch = images[where], _patches(images, where, generator)
    covered = mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    offset = ((target - patch) * mask).sum(dim=(2, 3), keepdim=True) / covered
    matched = (torch.rand(len(where), generator=generator) < 0.4).to(images.device)
    return patch + offset * matched[:, None, None, None]


def _scar(images: Tensor, where: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    target, patch = images[where], _patches(images, where, generator)
    amount = _amounts(len(where), images.shape[1], generator).to(images.device)
    drawn = target * (1 + amount) + 0.4 * amount
    patched = (torch.rand(len(where), generator=generator) < 0.4).to(images.device)
    return torch.where(patched[:, None, None, None], patch, drawn)


def _light(images: Tensor, where: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    target = images[where]
    amount = _amounts(len(where), images.shape[1], generator).to(images.device)
    lifted = (torch.rand(len(where), generator=generator) < 0.5).to(images.device)[:, None, None, None]
    return target * (1 + 1.5 * amount) + 0.3 * amount * lifted


def _texture(images: Tensor, where: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    target = images[where]
    n, channels, height, width = target.shape
    amount = _amounts(n, channels, generator).to(images.device)
    reach = min(7, height, width) // 2
    blurred = functional.avg_pool2d(target, 2 * reach + 1, 1, reach, count_include_pad=False)
    grain = torch.randn(n, 1, height, width, generator=generator).to(images.device)
    cloud = _clouds(n, height, width, 40, generator).to(images.device)
    which = torch.randint(4, (n,), generator=generator).to(images.device)[:, None, None, None]
    grainy = target + torch.where(which == 2, 0.4 * grain, 0.5 * cloud) * amount.abs()
    sharpened = target + 2.5 * (target - blurred)
    return torch.where(which == 0, blurred, torch.where(which == 1, sharpened, grainy))


_FILLINGS: dict[str, Callable[[Tensor, Tensor, Tensor, Generator], Tensor]] = dict(
    zip(LOCAL, (_paste, _scar, _light, _texture), strict=True)
)


def _cloned(filling: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """`filling` in the pixels of `mask` (1, h, w), its gradients kept and its border the image's (OpenCV)."""
    import cv2

    rows, columns = (mask[0] > 0).any(dim=1), (mask[0] > 0).any(dim=0)
    if min(rows.sum(), columns.sum()) < _BLENDED:
        return torch.where(mask > 0, filling, image)

    def pixels(planes: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        array = (planes.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).numpy()
        return np.pad(array, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="reflect")

    covered = np.pad((mask[0] > 0).numpy().astype(np.uint8) * 255, _MARGIN)
    left, top, width, height = cv2.boundingRect(covered)
    centre = (left + width // 2, top + height // 2)  # where OpenCV lays the region's box: where it was
    cloned = cv2.seamlessClone(pixels(filling), pixels(image), covered, centre, cv2.NORMAL_CLONE)
    inner = cloned[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].astype(np.float32) / 255
    blended = torch.from_numpy(inner).permute(2, 0, 1)[: len(image)]
    return torch.where(mask > 0, blended, image)
