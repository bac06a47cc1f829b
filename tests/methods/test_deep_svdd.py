"""What only Deep SVDD promises."""

from __future__ import annotations

from pathlib import Path

import torch

import amiss
from amiss.training.stage import PreparedImages, StageContext


def test_the_centre_is_the_mean_embedding_of_the_untrained_network() -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 1, 28, 28)
    detector = amiss.DeepSVDD()
    scorer = detector.build((1, 28, 28)).eval()
    centre = detector.stages(scorer)[0]
    with torch.no_grad():
        centre.compute(StageContext(PreparedImages(images), PreparedImages(images), torch.Generator(), Path(), []))  # type: ignore[union-attr]
        embeddings = scorer.network.eval()(images)
        normalised = scorer.network.train()(images)
    assert torch.allclose(embeddings, normalised, atol=0.05)  # its statistics are those of the training images
    mean, found = embeddings.mean(dim=0), scorer.sphere.get_buffer("centre")
    near_zero = mean.abs() < 0.1
    assert near_zero.float().mean() < 0.9  # else the centre would be a pattern of signs
    assert torch.allclose(found[~near_zero], mean[~near_zero], atol=1e-5)
    assert torch.allclose(found[near_zero].abs(), torch.full_like(found[near_zero], 0.1))
