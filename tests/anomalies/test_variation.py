"""Declared variation keeps what it should."""

from __future__ import annotations

import pytest
import torch

from amiss.anomalies.variation import VARIATIONS, varied


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(height: int, width: int, radius: float) -> torch.Tensor:
    down = torch.arange(height)[:, None] - (height - 1) / 2
    across = torch.arange(width)[None, :] - (width - 1) / 2
    return ((down**2 + across**2).sqrt() < radius).float()[None, None]


@pytest.mark.parametrize("way", VARIATIONS)
@pytest.mark.parametrize("shape", [(5, 1, 24, 24), (5, 3, 17, 30)])
def test_every_way_keeps_shape_and_range_and_changes_something(way: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(*shape, generator=generator(1))
    made = varied(images, generator(), [way])
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, images)
    assert torch.equal(made, varied(images, generator(), [way]))


def test_a_disc_stays_a_disc_however_it_is_turned_also_in_an_oblong_image() -> None:
    image = disc(40, 60, 15)
    turned = varied(image.expand(8, -1, -1, -1), generator(), ["rotate"])
    around = disc(40, 60, 20)  # what lies outside is mirrored
    assert ((turned - image).abs() * around).mean(dim=(1, 2, 3)).max() < 0.02, "stretched while it was turned"


def test_rotation_turns() -> None:
    image = torch.zeros(1, 1, 41, 41)
    image[:, :, 20, 20:] = 1  # a hand of a clock
    turned = varied(image.expand(16, -1, -1, -1), generator(), ["rotate"])
    tips = {
        tuple(divmod(int((each * disc(41, 41, 18)[0] * (1 - disc(41, 41, 15)[0])).argmax()), 41)) for each in turned
    }
    assert len(tips) > 8


def test_flip_only_mirrors() -> None:
    image = torch.rand(1, 1, 6, 8, generator=generator())
    mirrored = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    made = varied(image.expand(32, -1, -1, -1), generator(), ["flip"])
    found = [[torch.equal(each[None], other) for other in mirrored].index(True) for each in made]
    assert set(found) == {0, 1, 2, 3}
