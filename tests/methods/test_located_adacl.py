"""What only Located ADACL promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import amiss
from amiss.data import Collection, Item
from amiss.errors import UsageError
from amiss.metrics import Ranking, localisation
from amiss.objectives.continuous_labels import draw_label_map

pytestmark = pytest.mark.slow


def surfaces(count: int, seed: int) -> NDArray[np.uint8]:
    """(n, 48, 48) images of a soft, grainy surface, no two alike."""
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.random((count, 48, 48)), (0, 6, 6))
    grain = ndimage.gaussian_filter(rng.random((count, 48, 48)), (0, 0.7, 0.7))
    values = 0.5 + 4 * (soft - soft.mean()) + 0.15 * (grain - grain.mean())
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)


def scratched(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Such surfaces, each with a dark spot of 4 x 4 pixels, and the masks of these."""
    rng = np.random.default_rng(seed)
    images, masks = surfaces(count, seed), np.zeros((count, 48, 48), dtype=np.bool_)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(4, 40, 2)
        mask[top : top + 4, left : left + 4] = True
        image[mask] = (image[mask] * 0.6).astype(np.uint8)
    return images, masks


def small(**settings: object) -> amiss.LocatedADACL:
    return amiss.LocatedADACL(**{"epochs": 3, "steps": 60, "width": 8, "false_alarm_rate": 0.1, **settings})


def test_it_finds_small_defects_where_they_are() -> None:
    detector = small().fit(surfaces(80, 0))
    normal, (bad, masks) = surfaces(40, 1), scratched(40, 2)
    result = detector.score(np.concatenate([normal, bad]))
    assert Ranking(result.scores, np.arange(80) >= 40).auroc() > 0.9
    assert localisation(list(detector.anomaly_map(bad)), list(masks))["pixel_auroc"] > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mse", "normal_high": 0.3, "anomaly_low": 0.7},
        {"anomalies": "scar", "edges": "soft", "memory": 0},
        {"edges": "hard,poisson", "map_stride": 8},
        {"vary": "rotate,shift,flip,light", "untouched": 0.0},
    ],
)
def test_every_ablation_fits(settings: dict[str, object]) -> None:
    detector = small(epochs=1, steps=4, **settings).fit(surfaces(30, 0))
    assert np.isfinite(detector.score(surfaces(10, 1)).scores).all()
    stages = [stage["stage"] for stage in detector.training_["stages"]]
    assert ("anomaly bank" in stages) == ("poisson" in str(settings.get("edges")))
    assert ("memory bank" in stages) == (settings.get("memory") != 0)


def items(images: NDArray[np.uint8], masks: NDArray[np.bool_] | None, folder: Path) -> Collection:
    found = []
    for number, image in enumerate(images):
        mask = None
        if masks is not None:
            mask = folder / f"{number}.png"
            Image.fromarray(masks[number].astype(np.uint8) * 255).save(mask)
        found.append(Item(f"bad {number}", lambda image=image: image, "spot", True, mask=mask))
    return Collection(found, "bad")


@pytest.mark.parametrize("with_masks", [True, False])
def test_labelled_defects_help_with_masks_and_without(with_masks: bool, tmp_path: Path) -> None:
    """Faint defects of a kind that is not created: stripes of the surface's own brightness, mirrored."""

    def striped(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        images, masks = surfaces(count, seed), np.zeros((count, 48, 48), dtype=np.bool_)
        for image, mask in zip(images, masks, strict=True):
            mask[20:28, 12:36] = True
            image[20:28:2, 12:36] = np.clip(image[20:28:2, 12:36].astype(int) + 9, 0, 255)
        return images, masks

    known, masks = striped(10, 5)
    normal, (bad, _) = surfaces(40, 1), striped(40, 2)
    labels = np.arange(80) >= 40
    both = np.concatenate([normal, bad])
    settings = {"anomalies": "paste", "memory": 0, "epochs": 2}
    without = Ranking(small(**settings).fit(surfaces(80, 0)).score(both).scores, labels).auroc()
    anomalies = items(known, masks if with_masks else None, tmp_path)
    taught = small(**settings).fit(surfaces(80, 0), anomalies=anomalies)
    assert taught.splits_["labelled"]["count"] == 10
    assert Ranking(taught.score(both).scores, labels).auroc() > max(0.9, without)


def test_a_mask_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    images, masks = scratched(3, 0)
    anomalies = items(images, masks, tmp_path)
    (tmp_path / "1.png").write_bytes(b"cut")
    detector = small(epochs=1, steps=2).fit(surfaces(30, 0), anomalies=anomalies)
    assert any("bad 1" in note and "1.png" in note for note in detector.notes_)


def test_one_labelled_defect_is_enough(tmp_path: Path) -> None:
    images, masks = scratched(1, 0)
    detector = small(epochs=1, steps=2).fit(surfaces(30, 0), anomalies=items(images, masks, tmp_path))
    assert detector.splits_["labelled"]["count"] == 1


def test_bad_settings_are_explained() -> None:
    for settings, word in (
        ({"anomalies": "paste,scratch"}, "scratch"),
        ({"edges": "round"}, "round"),
        ({"vary": "rotation"}, "rotation"),
        ({"normal_high": 0.8, "anomaly_low": 0.7}, "overlap"),
        ({"map_stride": 6}, "map_stride"),
    ):
        with pytest.raises(UsageError, match=word):
            amiss.LocatedADACL(**settings).fit(surfaces(30, 0))


def test_labels_of_places() -> None:
    share = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(500, 1, 4)
    labels = draw_label_map(share, torch.Generator().manual_seed(0), 0.3, 0.7)
    low, high = labels.amin(dim=(0, 1)), labels.amax(dim=(0, 1))
    np.testing.assert_allclose(low, [0, 0.35, 0.7, 0.7], atol=0.03)
    np.testing.assert_allclose(high, [0.3, 0.65, 1, 1], atol=0.03)
