"""Gates, squeeze-excitation, memory and codes against NumPy, and what each costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amiss.networks.autoencoder import Autoencoder
from amiss.networks.codes import DistortedCode, make_code
from amiss.networks.gates import SoftAttention, SoftmaxSoftAttention
from amiss.networks.memory import Memory, addressing_entropy
from amiss.networks.parts import CODES
from amiss.networks.squeeze_excitation import SqueezeExcitation


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def softmax(value: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(value - value.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_squeeze_excitation_equals_numpy() -> None:
    torch.manual_seed(0)
    block = SqueezeExcitation(32)
    features = torch.randn(2, 32, 5, 4)
    first, second = block.excitation[0], block.excitation[2]
    with torch.no_grad():
        squeezed = features.numpy().mean(axis=(2, 3))
        hidden = np.maximum(squeezed @ first.weight.numpy().T + first.bias.numpy(), 0)
        weights = sigmoid(hidden @ second.weight.numpy().T + second.bias.numpy())
        np.testing.assert_allclose(block(features).numpy(), features.numpy() * weights[:, :, None, None], atol=1e-6)


def test_squeeze_excitation_costs_under_two_and_a_half_percent() -> None:
    """RAVI 3.5.2."""
    plain = parameters(Autoencoder((3, 128, 128)))
    assert 1 < parameters(Autoencoder((3, 128, 128), post="se")) / plain < 1.025


def test_sa_gate_equals_numpy() -> None:
    gate = SoftAttention(3).eval()
    image = torch.rand(2, 3, 8, 9)
    with torch.no_grad():
        features = gate.features(image).numpy()
        np.testing.assert_allclose(gate(image).numpy(), image.numpy() * sigmoid(features), atol=1e-6)
        assert gate.attention_map(image).shape == image.shape
    # k1 = 3, k2 = 5, C_p = 64, batch normalisation (RAVI 4.7.1)
    assert parameters(gate) == (3 * 64 * 9 + 64) + (64 * 3 * 25 + 3) + 2 * 3


def test_ssa_gate_equals_numpy() -> None:
    torch.manual_seed(0)
    gate = SoftmaxSoftAttention(1).eval()
    image = torch.rand(2, 1, 6, 7)
    with torch.no_grad():
        features = gate.features(image).numpy()
        rows, columns = softmax(features.sum(axis=3), 2), softmax(features.sum(axis=2), 2)
        product = rows[:, :, :, None] * columns[:, :, None, :]
        low, high = product.min(axis=(2, 3), keepdims=True), product.max(axis=(2, 3), keepdims=True)
        expected = 0.3 + 0.7 * (product - low) / (high - low)
        np.testing.assert_allclose(gate.attention_map(image).numpy(), expected, atol=1e-5)
    assert parameters(gate) == parameters(SoftAttention(1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(5, 20), width=st.integers(5, 20))
def test_ssa_maps_span_their_range_for_every_image_alone(seed: int, height: int, width: int) -> None:
    torch.manual_seed(seed)
    gate = SoftmaxSoftAttention(1).eval()
    images = torch.rand(3, 1, height, width)
    with torch.no_grad():
        maps = gate.attention_map(images)
        torch.testing.assert_close(maps[1:2], gate.attention_map(images[1:2]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps.amax(dim=(1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(maps.amin(dim=(1, 2, 3)), torch.full((3,), 0.3))


def test_a_map_without_contrast_lets_the_image_through() -> None:
    gate = SoftmaxSoftAttention(1).eval()
    for weight in gate.parameters():
        nn.init.zeros_(weight)
    image = torch.rand(2, 1, 6, 6)
    torch.testing.assert_close(gate(image), image)


def test_memory_equals_numpy() -> None:
    torch.manual_seed(0)
    memory = Memory(5, 4)
    code = torch.randn(2, 4, 2, 3)
    items = memory.items.detach().numpy()
    queries = code.numpy().reshape(2, 4, 6).transpose(0, 2, 1)
    unit = queries / np.linalg.norm(queries, axis=2, keepdims=True)
    weights = softmax(unit @ (items / np.linalg.norm(items, axis=1, keepdims=True)).T, 2)
    above = weights - 1 / 5
    kept = np.maximum(above, 0) * weights / (np.abs(above) + 1e-12)
    kept /= kept.sum(axis=2, keepdims=True)
    with torch.no_grad():
        np.testing.assert_allclose(memory.addressing(code).numpy(), kept, atol=1e-6)
        expected = (kept @ items).transpose(0, 2, 1).reshape(2, 4, 2, 3)
        np.testing.assert_allclose(memory(code).numpy(), expected, atol=1e-6)
        entropy = -(kept * np.log(kept + 1e-12)).sum(axis=2).mean()
        np.testing.assert_allclose(addressing_entropy(memory.addressing(code)).item(), entropy, atol=1e-6)


def test_entropy_has_the_gradient_it_should() -> None:
    weights = torch.rand(2, 3, 4, dtype=torch.float64).softmax(dim=2).requires_grad_()
    assert torch.autograd.gradcheck(addressing_entropy, weights)


@pytest.mark.parametrize("kind", CODES)
def test_codes_keep_shape_and_score_alike_twice(kind: str) -> None:
    code = make_code(kind, (4, 3, 3), 0.5, 10, lambda: nn.Conv2d(1, 4, 3)).eval()
    values, image = torch.randn(2, 4, 3, 3), torch.rand(2, 1, 5, 5)
    for path in (lambda: code(values), lambda: code.perturbed(values, image)):  # `held` is no scoring path
        torch.testing.assert_close(path(), path())
        assert path().shape == code.held(values, image).shape == values.shape
    assert bool(list(code.adversary())) == (kind == "distorter")


@settings(max_examples=30, deadline=None)
@given(strength=st.floats(0, 3), scale=st.floats(1e-3, 1e3))
def test_distortion_is_never_longer_than_its_share_of_the_code(strength: float, scale: float) -> None:
    torch.manual_seed(0)
    distorter = nn.Conv2d(1, 4, 3)
    nn.init.normal_(distorter.weight, std=scale)
    code = DistortedCode(distorter, strength)
    values, image = torch.randn(3, 4, 3, 3), torch.rand(3, 1, 5, 5)
    length = (code.perturbed(values, image) - values).flatten(1).norm(dim=1)
    assert (length <= strength * values.flatten(1).norm(dim=1) * (1 + 1e-4) + 1e-6).all()


def test_the_autoencoders_step_does_not_teach_the_distorter() -> None:
    code = DistortedCode(nn.Conv2d(1, 4, 3), 0.5)
    values, image = torch.randn(2, 4, 3, 3, requires_grad=True), torch.rand(2, 1, 5, 5)
    code.held(values, image).square().sum().backward()
    assert code.distorter.weight.grad is None
    code.perturbed(values, image).square().sum().backward()
    assert code.distorter.weight.grad is not None


def test_noise_joins_the_autoencoders_own_step_even_where_layers_stand_still() -> None:
    code = make_code("noise", (4, 3, 3), 0.5, 10, None).eval()  # type: ignore[arg-type]
    values = torch.randn(2, 4, 3, 3)
    assert torch.equal(code(values), values)
    assert not torch.equal(code.held(values, values), values)
