"""Adversarial losses against NumPy, and penalties known in closed form; the gate's penalty and corruptions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amiss.objectives.adversarial import (
    critic_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    wasserstein_generator_loss,
)
from amiss.objectives.corruption import masked, noisy
from amiss.objectives.gate import map_penalty

REAL, FAKE = np.array([0.3, -1.0, 2.0]), np.array([-0.5, 0.7])


def test_logistic_terms() -> None:
    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    expected = -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
    assert discriminator_loss(torch.tensor(REAL), torch.tensor(FAKE)).item() == pytest.approx(expected)
    assert generator_loss(torch.tensor(FAKE)).item() == pytest.approx(-np.log(sigmoid(FAKE)).mean())


def test_wasserstein_terms() -> None:
    assert critic_loss(torch.tensor(REAL), torch.tensor(FAKE)).item() == pytest.approx(FAKE.mean() - REAL.mean())
    assert wasserstein_generator_loss(torch.tensor(FAKE)).item() == pytest.approx(-FAKE.mean())


@given(shift=st.floats(-100, 100))
def test_a_critic_may_add_a_constant(shift: float) -> None:
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert critic_loss(real + shift, fake + shift).item() == pytest.approx(critic_loss(real, fake).item(), abs=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_known(slope: float) -> None:
    direction = torch.zeros(1, 4, 4)
    direction[0, 1, 2] = slope

    def critic(images: torch.Tensor) -> torch.Tensor:
        return (images * direction).sum(dim=(1, 2, 3))

    images, others = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    penalty = gradient_penalty(critic, images, others, torch.Generator().manual_seed(0))
    assert penalty.item() == pytest.approx((slope - 1) ** 2, abs=1e-6)


def test_the_penalty_teaches_the_critic() -> None:
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Flatten(0))
    penalty = gradient_penalty(critic, torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4), torch.Generator().manual_seed(0))
    penalty.backward()
    assert critic[1].weight.grad.abs().sum() > 0


def test_the_gates_penalty_is_the_mean_norm() -> None:
    maps = torch.rand(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    expected = np.linalg.norm(maps.detach().numpy().reshape(3, -1), axis=1).mean()
    assert map_penalty(maps).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(map_penalty, maps)


@given(share=st.floats(0.01, 0.9), height=st.integers(4, 30), width=st.integers(4, 30))
def test_a_mask_hides_its_share_and_nothing_else(share: float, height: int, width: int) -> None:
    images = torch.ones(4, 2, height, width)
    hidden = (masked(images, share, torch.Generator().manual_seed(0)) == 0).float().mean(dim=(1, 2, 3))
    sides = [max(1, round(length * share**0.5)) for length in (height, width)]
    assert hidden.tolist() == pytest.approx([sides[0] * sides[1] / (height * width)] * 4)


def test_noise_has_the_deviation_it_is_given() -> None:
    images = torch.full((8, 1, 50, 50), 0.5)
    corrupted = noisy(images, 0.1, torch.Generator().manual_seed(0))
    assert (corrupted - images).std().item() == pytest.approx(0.1, rel=0.02)
    assert noisy(images, 5.0, torch.Generator().manual_seed(0)).amax() == 1
