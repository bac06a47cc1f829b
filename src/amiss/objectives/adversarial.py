"""Losses of adversarial training: logistic (GAN) and Wasserstein (WGAN)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """A discriminator's scalar loss from logits (n,), (m,): binary cross entropy with real as 1 and fake as 0."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's scalar loss from logits (m,) of fakes: labelled real, the non-saturating form of GANs."""
    return functional.softplus(-fake).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """A Wasserstein critic's scalar loss from scores (n,), (m,): mean score of fakes minus that of real images."""
    return fake.mean() - real.mean()


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    """A Wasserstein generator's scalar loss from scores of fakes (m,), -mean f(I(z)).

    G2D's eq. 3 prints the Wasserstein estimate instead, whose first part the generator cannot change.
    """
    return -fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: Generator) -> Tensor:
    """Mean of (gradient norm - 1)^2 at uniform mixtures of real and fake images (Gulrajani et al. 2017).

    Args:
        critic: (n, ...) to (n,).
        real, fake: (n, c, h, w).
        generator: of the CPU; one mixture weight is drawn for each image.

    Returns: the penalty, a scalar.
    """
    weight = torch.rand(len(real), 1, 1, 1, generator=generator).to(real)
    mixed = (weight * real + (1 - weight) * fake).detach().requires_grad_()
    with torch.enable_grad():
        scores = critic(mixed).sum()
        (gradient,) = torch.autograd.grad(scores, mixed, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
