"""DFM against scikit-learn, and on features with ImageNet weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import amiss
from amiss.networks.backbone import Backbone
from amiss.testing import common


def test_equals_scikit_learn_on_small_copies() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    model = amiss.DFM(features="none", components=7, size="native", calibration="split").fit(images).model_
    digests = set(model.record.splits.train.images)
    from amiss.data.stack import digest

    train = np.stack([image for image in images if digest(image[None]) in digests]).reshape(-1, 256) / 255
    reference = PCA(7).fit(train)
    flat = images.reshape(60, -1) / 255
    left = flat - reference.inverse_transform(reference.transform(flat))
    np.testing.assert_allclose(model.score(images).scores, np.linalg.norm(left, axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_features_are_those_of_the_backbone() -> None:
    images = common.task_of(amiss.DFM).normal[:24]
    model = amiss.DFM(size=(64, 64), components=5).fit(images).model_
    backbone = Backbone.named("efficientnet_lite0", False, True)
    prepared = np.stack([model.preprocessing.prepare(image) for image in images]).astype(np.float32) / 255
    levels = backbone(torch.from_numpy(prepared))
    vectors = torch.nn.functional.normalize(
        torch.nn.functional.interpolate(levels[-1], scale_factor=1).mean(dim=(2, 3)), dim=1
    ).numpy()
    reference = PCA(5).fit(vectors)
    left = vectors - reference.inverse_transform(reference.transform(vectors))
    np.testing.assert_allclose(model.score(images).scores, np.linalg.norm(left, axis=1), rtol=1e-2, atol=1e-4)
    assert model.decision.crossed
