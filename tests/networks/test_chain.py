"""The chains of layers that scorers give lead to their scores."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from amiss.networks.autoencoder import Autoencoder, ReconstructionScorer
from amiss.networks.chain import Chained
from amiss.networks.embedding import Embedding, SphereScorer
from amiss.networks.gates import SoftAttention, SoftmaxSoftAttention
from amiss.networks.regressor import RegressionScorer, Regressor
from amiss.networks.squeeze_excitation import SqueezeExcitation
from amiss.networks.wgan import Classifier, ClassifierScorer

SHAPE = (1, 16, 20)


def reconstruction(**settings: str) -> ReconstructionScorer:
    return ReconstructionScorer(Autoencoder(SHAPE, filters=(8, 8), **settings))  # type: ignore[arg-type]


def scaled() -> ReconstructionScorer:
    scorer = ReconstructionScorer(Autoencoder(SHAPE, filters=(8, 8)), scaled=True)
    scorer.set_scale(torch.tensor([0.02, 0.05]))
    return scorer


@pytest.mark.parametrize(
    "scorer",
    [
        reconstruction(),
        reconstruction(gate="sa", post="se", code="memory"),
        reconstruction(network="dcgan", code="noise"),
        reconstruction(network="pooled", code="distorter"),
        scaled(),
        RegressionScorer(Regressor(*SHAPE)),
        ClassifierScorer(Classifier(SHAPE)),
    ],
    ids=lambda scorer: type(scorer).__name__,
)
def test_the_chain_leads_to_the_score(scorer: nn.Module) -> None:
    scorer = copy.deepcopy(scorer).eval()
    assert isinstance(scorer, Chained)
    images = torch.rand(3, *SHAPE)
    with torch.no_grad():
        chain = scorer.chain()
        values = nn.Sequential(*chain.layers).eval()(images)
        if chain.reconstructs:
            values = nn.Sequential(*chain.behind)((images - values).square().mean(dim=(1, 2, 3)))
        torch.testing.assert_close(values, scorer(images)["score"], rtol=1e-4, atol=1e-5)
    assert chain.reconstructs or not chain.behind


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (ReconstructionScorer(Autoencoder(SHAPE, filters=(8, 8)), loss="mse+ssim"), r"the error mse\+ssim"),
        (ReconstructionScorer(Autoencoder(SHAPE, filters=(8, 8)), path="mean"), "the error of the mean path"),
    ],
    ids=["loss", "path"],
)
def test_what_has_no_chain_says_so(scorer: ReconstructionScorer, words: str) -> None:
    with pytest.raises(NotImplementedError, match=words):
        scorer.chain()


def test_other_scorers_are_no_chains() -> None:
    assert not isinstance(SphereScorer(Embedding(SHAPE, 8), 8), Chained)


@pytest.mark.parametrize("layer", [SoftAttention(3), SoftmaxSoftAttention(3), SqueezeExcitation(3)])
def test_weighting_layers_multiply_by_their_weights(layer: SoftAttention | SqueezeExcitation) -> None:
    values = torch.rand(2, 3, 8, 9)
    with torch.no_grad():
        assert torch.equal(layer.eval()(values), values * layer.weights(values))


def test_scorers_with_a_code_encode() -> None:
    images = torch.rand(2, *SHAPE)
    autoencoder = reconstruction().eval()
    assert torch.equal(autoencoder.encode(images), autoencoder.network.encode(images))
    sphere = SphereScorer(Embedding(SHAPE, 8), 8).eval()
    assert sphere.encode(images).shape == (2, 8)
    assert torch.equal(sphere.sphere.squared_distances(sphere.encode(images)), sphere(images)["score"])
