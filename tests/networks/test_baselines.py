"""The scorers of the trivial baselines against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

import amiss
from amiss.calibration.maps import smoothed
from amiss.data.preprocessing import to_float
from amiss.networks.neighbours import Downsampled, Neighbours
from amiss.networks.statistics import EdgeStrength, PixelStatistics, smooth
from amiss.testing import fitted, task


def training_images(detector: amiss.Detector) -> np.ndarray:
    """The images a fitted detector has learnt from, by their digests; (n, pixels) float32."""
    from amiss.data.stack import digest

    used = set(detector.splits_["train"]["images"])
    images = [image for image in task().normal if digest(image[None]) in used]
    return to_float(np.stack(images)).reshape(len(images), -1)


def unseen() -> np.ndarray:
    return to_float(task().unseen).reshape(len(task().unseen), -1)


def test_smoothing_is_that_of_shown_maps() -> None:
    for shape in ((2, 20, 33), (1, 64, 50), (1, 7, 9)):
        maps = np.random.default_rng(0).random(shape, dtype=np.float32)
        np.testing.assert_allclose(smooth(torch.from_numpy(maps)).numpy(), smoothed(maps), atol=1e-5)


def test_pixel_zscore_equals_numpy() -> None:
    train = training_images(fitted(amiss.PixelZScore))
    expected = (((unseen() - train.mean(0)) / (train.std(0) + 0.05)) ** 2).mean(axis=1)
    np.testing.assert_allclose(fitted(amiss.PixelZScore).score(task().unseen).scores, expected, rtol=1e-4)


def test_largest_is_that_of_the_smoothed_map() -> None:
    scorer = PixelStatistics((1, 20, 20), 0.05, "largest")
    output = scorer(torch.rand(3, 1, 20, 20))
    expected = smoothed(output["map"].numpy()).reshape(3, -1).max(axis=1)
    np.testing.assert_allclose(output["score"].numpy(), expected, rtol=1e-5)


def test_pca_equals_scikit_learn() -> None:
    model = PCA(30, random_state=0).fit(training_images(fitted(amiss.PCA)))
    expected = ((model.inverse_transform(model.transform(unseen())) - unseen()) ** 2).mean(axis=1)
    np.testing.assert_allclose(fitted(amiss.PCA).score(task().unseen).scores, expected, rtol=1e-3, atol=1e-6)


def test_knn_equals_scikit_learn() -> None:
    distances, _ = NearestNeighbors(n_neighbors=3).fit(training_images(fitted(amiss.KNN))).kneighbors(unseen())
    found = fitted(amiss.KNN).score(task().unseen).scores
    np.testing.assert_allclose(found, distances.mean(axis=1), rtol=1e-4)


def test_ocsvm_equals_scikit_learn() -> None:
    train = training_images(fitted(amiss.OCSVM))
    principal = PCA(0.95, svd_solver="full").fit(train.astype(np.float64))
    machine = OneClassSVM(kernel="rbf", nu=0.1, gamma="scale").fit(principal.transform(train))
    expected = -machine.decision_function(principal.transform(unseen()))
    np.testing.assert_allclose(fitted(amiss.OCSVM).score(task().unseen).scores, expected, atol=2e-3)


def test_small_images_are_block_means() -> None:
    small = Downsampled((1, 64, 40), 32)
    image = torch.rand(2, 1, 64, 40)
    assert small.shape == (1, 32, 20)
    expected = image.numpy().reshape(2, 1, 32, 2, 20, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(small(image).numpy(), expected, rtol=1e-5)
    assert Downsampled((1, 33, 70), 32)(torch.rand(1, 1, 33, 70)).shape == (1, *Downsampled((1, 33, 70), 32).shape)


def test_a_kept_image_is_its_own_neighbour() -> None:
    scorer = Neighbours((1, 12, 12), 32, 1)
    images = torch.rand(9, 1, 12, 12)
    scorer.fit(scorer.downsample(images))
    output = scorer(images)
    torch.testing.assert_close(output["score"], torch.zeros(9), atol=2e-3, rtol=0)
    torch.testing.assert_close(output["map"], torch.zeros(9, 12, 12), atol=1e-6, rtol=0)


def test_an_edge_is_where_the_step_is() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1.0
    anomaly_map = EdgeStrength()(image)["map"][0]
    assert anomaly_map[:, :5].max() == 0  # neither far from the step nor at the border
    assert anomaly_map[:, 12:].max() == 0
    assert set(anomaly_map.argmax(dim=1).tolist()) <= {7, 8}
    np.testing.assert_allclose(
        anomaly_map[5, 7:9].max().item(), 1 / 3, rtol=1e-5
    )  # smoothed over 3, slope over 2 pixels
