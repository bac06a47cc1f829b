"""Layer-wise relevance propagation: conservation, the leak through biases, and an independent implementation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from amiss import ADACL, BCAE1, G2D
from amiss.detectors.detector import Detector
from amiss.errors import UsageError
from amiss.explain.explainers.lrp import LRP
from amiss.explain.relevance import Reconstruction, SquaredError, _chain, _Normalisation, explained_network, relevance
from amiss.networks.autoencoder import Autoencoder, ReconstructionScorer
from amiss.networks.gates import SoftAttention, SoftmaxSoftAttention
from amiss.networks.regressor import RegressionScorer, Regressor
from amiss.networks.squeeze_excitation import SqueezeExcitation
from amiss.networks.wgan import Classifier, ClassifierScorer
from amiss.testing import task

pytestmark = pytest.mark.filterwarnings("ignore::amiss.errors.DegenerateTrainingWarning")
EPSILON = 1e-9


def without_biases(network: nn.Module) -> nn.Module:
    """The network with every bias at zero; batch normalisation then scales only."""
    for layer in network.modules():
        if isinstance(getattr(layer, "bias", None), torch.Tensor):
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return network


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 5, 3, 2, 1, bias=False),
        nn.ConvTranspose2d(3, 5, 3, 2, 1, 1, bias=False),
        without_biases(nn.BatchNorm2d(3)),
        nn.LeakyReLU(0.2),
        nn.ReLU(),
        nn.Sigmoid(),
        nn.AdaptiveMaxPool2d(1),
        nn.AdaptiveAvgPool2d(1),
        SoftAttention(3).eval(),
        SoftmaxSoftAttention(3).eval(),
        SqueezeExcitation(3).eval(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_layer_conserves_relevance(layer: nn.Module) -> None:
    torch.manual_seed(0)
    given = images(2, 3, 8, 8) - 0.3
    first = nn.Conv2d(3, 3, 1, bias=False)
    size = layer.eval()(first(given)).flatten(1).shape[1]
    network = _chain(first, layer, nn.Flatten(), nn.Linear(size, 1, bias=False), nn.Flatten(0)).eval()
    found, scores = relevance(network, given, EPSILON)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), scores, rtol=1e-4, atol=1e-5)


def test_a_bias_absorbs_its_share() -> None:
    torch.manual_seed(0)
    dense = nn.Linear(12, 1)
    network = nn.Sequential(nn.Flatten(), dense, nn.Flatten(0))
    given = images(2, 3, 2, 2)
    found, scores = relevance(network, given, EPSILON)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), scores - dense.bias.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", ["bcae1", "pooled", "dcgan"])
@pytest.mark.parametrize(("gate", "post"), [(None, None), ("sa", "se"), ("ssa", None)])
def test_an_autoencoder_without_biases_conserves_its_error(network: str, gate: str | None, post: str | None) -> None:
    torch.manual_seed(0)
    made = Autoencoder((1, 32, 32), network=network, filters=(8, 8, 12), gate=gate, post=post)
    scorer = ReconstructionScorer(without_biases(made)).eval()
    given = images(2, 1, 32, 32)
    found, scores = relevance(explained_network(scorer), given, EPSILON)
    with torch.no_grad():
        torch.testing.assert_close(scores, scorer(given)["score"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), scores, rtol=1e-2, atol=1e-4)


def scaled_scorer() -> ReconstructionScorer:
    scorer = ReconstructionScorer(Autoencoder((1, 32, 32), filters=(8, 8, 12)), scaled=True)
    scorer.set_scale(torch.tensor([0.02, 0.05]))
    return scorer


@pytest.mark.parametrize(
    "scorer",
    [
        ReconstructionScorer(Autoencoder((1, 32, 32), filters=(8, 8, 12))),
        scaled_scorer(),
        RegressionScorer(Regressor(1, 32, 32)),
        ClassifierScorer(Classifier((1, 32, 32))),
    ],
    ids=lambda scorer: type(scorer).__name__,
)
def test_the_explained_network_gives_the_score(scorer: nn.Module) -> None:
    given = images(3, 1, 32, 32)
    with torch.no_grad():
        scores = explained_network(scorer.eval())(given)
        torch.testing.assert_close(scores, scorer(given)["score"], rtol=1e-4, atol=1e-6)


def test_a_scaled_error_is_explained_in_its_scale() -> None:
    """What is subtracted is a bias: relevances add up to the error over the span."""
    torch.manual_seed(0)
    made = without_biases(Autoencoder((1, 32, 32), filters=(8, 8, 12)))
    plain, scaled = ReconstructionScorer(made), ReconstructionScorer(made, scaled=True)
    scaled.set_scale(torch.tensor([0.02, 0.05]))
    given = images(2, 1, 32, 32)
    found, _ = relevance(explained_network(scaled.eval()), given, EPSILON)
    expected, _ = relevance(explained_network(plain.eval()), given, EPSILON)
    torch.testing.assert_close(found, expected / 0.03, rtol=1e-2, atol=1e-4)


def test_a_dense_network_agrees_with_numpy() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 5), nn.Linear(5, 1)
    network = nn.Sequential(nn.Flatten(), first, nn.LeakyReLU(0.2), second, nn.Flatten(0))
    given = images(1, 1, 2, 3) - 0.4
    found, _ = relevance(network, given, 0.01)
    a = given.numpy().ravel()
    z1 = first.weight.detach().numpy() @ a + first.bias.detach().numpy()
    h = np.where(z1 > 0, z1, 0.2 * z1)
    w2 = second.weight.detach().numpy()[0]
    z2 = w2 @ h + second.bias.detach().numpy()[0]
    r_hidden = h * w2 * z2 / (z2 + 0.01 * np.sign(z2))  # epsilon rule with R_k = z2
    expected = a * (first.weight.detach().numpy() * (r_hidden / (z1 + 0.01 * np.sign(z1)))[:, None]).sum(axis=0)
    np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-3, atol=1e-6)


def test_the_squared_error_is_shared_between_image_and_reconstruction() -> None:
    class Constant(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full_like(image, 0.25)

    given = images(1, 1, 4, 4)
    network = Reconstruction(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 4, 4))))
    assert isinstance(network.error, SquaredError)
    found, scores = relevance(network, given, EPSILON)
    assert float(scores) == pytest.approx(0, abs=1e-12)  # nothing to explain
    assert torch.isfinite(found).all()


def fitted(kind: type[Detector], **settings: object) -> Detector:
    return kind(epochs=1, false_alarm_rate=0.1, **settings).fit(task().normal)


def test_patches_are_explained_where_the_score_comes_from() -> None:
    detector = fitted(ADACL, patch="8:4", fewest_steps=5)
    image = task().unseen[-1]
    found = detector.explain(image, "lrp")
    scorer = detector.model_.torch_scorer()
    prepared = torch.from_numpy(detector.preprocessing_.prepare(image)).float() / 255
    patches, corners = scorer.cut(prepared)
    with torch.no_grad():
        top, left = corners[int(scorer.inner(patches)["score"].argmax())]
    outside = found.map.copy()
    outside[top : top + 8, left : left + 8] = 0
    assert not outside.any()
    assert found.map.any()
    assert "biases account" in found.notes[0]


@pytest.mark.parametrize(
    ("detector", "why"),
    [
        (lambda: fitted(BCAE1, loss="mse+ssim"), "mse\\+ssim"),
        (lambda: fitted(BCAE1, code="memory", memory_items=4), "Memor"),
        (lambda: fitted(BCAE1, conv="attention"), "AttentionConv"),
        (lambda: fitted(G2D, filters="8", detector_epochs=1, generators=1).use_engine("onnxruntime"), "engine=torch"),
    ],
)
def test_what_has_no_rule_is_refused_clearly(detector: Callable[[], Detector], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        LRP().check(detector().model_)


def test_group_normalisation_is_a_linear_layer_whose_statistics_count_as_given() -> None:
    layer = torch.nn.GroupNorm(2, 6)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    value = torch.rand(3, 6, 4, 5)
    torch.testing.assert_close(_Normalisation(layer)(value), layer(value))
