"""What only the prediction of transformations promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from amiss.anomalies.kinds import TRANSFORMATIONS, VARIATIONS
from amiss.errors import DegenerateTrainingWarning
from amiss.methods.transformation_prediction import TransformationPrediction
from amiss.networks.transformation_classifier import (
    TransformationClassifier,
    TransformationScorer,
    draw_states,
    grids,
    states,
    transformed,
)
from amiss.testing.common import fitted, task


def in_state(images: torch.Tensor, kind: str, number: int) -> torch.Tensor:
    return transformed(images, grids(states(kind)[number : number + 1], *images.shape[2:]))


@pytest.mark.parametrize("kind", TRANSFORMATIONS)
def test_the_first_state_is_the_image_and_the_others_are_not(kind: str) -> None:
    image = torch.rand(1, 3, 12, 20)
    torch.testing.assert_close(in_state(image, kind, 0), image, atol=1e-5, rtol=0)
    seen = torch.cat([in_state(image, kind, number) for number in range(len(states(kind)))])
    assert (torch.cdist(seen.flatten(1)[None], seen.flatten(1)[None])[0] + torch.eye(len(seen)) > 0.5).all()


def test_states_are_turned_moved_mirrored_and_sheared_images() -> None:
    image = torch.rand(1, 1, 16, 16)
    for number in range(4):
        torch.testing.assert_close(in_state(image, "rotate", number), image.rot90(number, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(in_state(image, "flip", 1), image.flip(3), atol=1e-5, rtol=0)
    down_right = in_state(image, "shift", 4)  # looks a quarter up and left of each place
    torch.testing.assert_close(down_right[:, :, 4:, 4:], image[:, :, :-4, :-4], atol=1e-5, rtol=0)
    stripe = torch.zeros(1, 1, 16, 16)
    stripe[..., 7:9] = 1
    ink = torch.arange(16.0) * in_state(stripe, "shear", 2)[0, 0]
    assert (ink.sum(dim=1).diff() < 0).all(), "upright lines lean"


def test_every_view_comes_equally_often_and_other_states_by_chance() -> None:
    labels, matrices = draw_states(400, ("rotate", "shift"), torch.Generator().manual_seed(0))
    assert labels[:, 0].bincount().tolist() == [100] * 4
    assert (labels[:, 1].bincount(minlength=9) > 20).all()
    expected = states("rotate")[labels[7, 0]] @ states("shift")[labels[7, 1]]
    torch.testing.assert_close(matrices[7], expected)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_scores_are_mean_distances_between_whitened_directions_as_scikit_learn_finds_them(power: float) -> None:
    torch.manual_seed(0)
    scorer = TransformationScorer((1, 16, 16), 16, 4, ("rotate",), neighbours=3, length_power=power).eval()
    images, new = torch.rand(90, 1, 16, 16), torch.rand(9, 1, 16, 16)
    expected = np.zeros(9)
    with torch.no_grad():
        scorer.fit(scorer.describe(images), components=64, shrinkage=0.5)
        found = scorer(new)["score"].numpy()
        for number in range(4):
            known, asked = (_quarters(scorer.classifier, in_state(each, "rotate", number)) for each in (images, new))
            lengths = np.linalg.norm(known, axis=1, keepdims=True), np.linalg.norm(asked, axis=1, keepdims=True)
            known, asked = known / lengths[0], asked / lengths[1]
            covariance = np.cov(known.T, bias=True)
            covariance += 0.5 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
            inverse = np.linalg.inv(covariance)
            model = NearestNeighbors(n_neighbors=3, metric="mahalanobis", metric_params={"VI": inverse}).fit(known)
            expected += model.kneighbors(asked)[0].mean(axis=1) * (lengths[0].mean() / lengths[1][:, 0]) ** power / 4
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def _quarters(classifier: TransformationClassifier, images: torch.Tensor) -> NDArray[np.float64]:
    return functional.adaptive_avg_pool2d(classifier.features(images), 2).flatten(1).double().numpy()


def test_large_images_are_seen_as_small_copies() -> None:
    scorer = TransformationPrediction(small=32).build((3, 100, 64))
    assert scorer.downsample.shape == (3, 25, 16)
    assert scorer(torch.rand(2, 3, 100, 64))["score"].shape == (2,)


def test_the_network_learns_which_transformation_it_was() -> None:
    scorer = fitted(TransformationPrediction).model_.torch_scorer()
    images = torch.from_numpy(task().normal[:40, None]).float() / 255
    for kind, logits_of in (("rotate", 0), ("shift", 1)):
        for number in range(len(states(kind))):
            with torch.no_grad():
                told = scorer.classifier(in_state(images, kind, number))[logits_of].argmax(dim=1)
            assert (told == number).float().mean() > 0.8, (kind, number)


@pytest.mark.parametrize("varied", VARIATIONS)
def test_what_normal_images_show_anyway_is_not_asked(varied: str) -> None:
    chosen = TransformationPrediction(**TransformationPrediction.varied_settings((varied,))).transformations
    assert chosen
    assert varied not in chosen
    assert TransformationPrediction.varied_settings(VARIATIONS)["transformations"] == ("shear",)


def test_a_warning_says_where_there_is_nothing_to_tell() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 16, 16), dtype=np.uint8)
    with pytest.warns(DegenerateTrainingWarning, match="rotate of normal images cannot be told apart"):
        TransformationPrediction(transformations=("rotate",), epochs=2, steps=5).fit(noise)
