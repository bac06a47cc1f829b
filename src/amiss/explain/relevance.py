"""Layer-wise relevance propagation with captum: rules for the layers that it does not know, and scorers as chains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule
from torch import Tensor, nn

from ..networks.autoencoder import Rescaled
from ..networks.chain import Chained
from ..networks.gates import SoftAttention
from ..networks.squeeze_excitation import SqueezeExcitation

#: Layers whose output is a weighted sum of their input (and a bias), or a choice of it.
_LINEAR = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.Linear,
    nn.BatchNorm2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
#: Layers that only arrange values anew.
_SHAPES = (nn.Flatten, nn.Unflatten)
#: Layers that change each value alone: relevance passes through as it is.
_ACTIVATIONS = (nn.LeakyReLU, nn.Sigmoid, Rescaled)
#: Layers that weigh their input by a map of it: the weights count as given, so that the input takes the relevance.
_WEIGHTINGS = (SoftAttention, SqueezeExcitation)
_WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.Dropout2d)


class _HalvedRule(EpsilonRule):  # type: ignore[misc]  # captum has no types
    """For the squared error: of degree two in image and reconstruction, so that half of gradient times input adds up to
    it (Euler)."""

    def _create_backward_hook_output(self, outputs: Tensor) -> Callable[[Tensor], Tensor]:
        hook = super()._create_backward_hook_output(outputs)
        return lambda grad: hook(grad) / 2


class _ShapeRule(IdentityRule):  # type: ignore[misc]  # as above
    """For layers that only arrange values anew: relevance goes with its value."""

    def _create_backward_hook_input(self, inputs: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda grad: self.relevance_output[grad.device].reshape(inputs.shape)


class SquaredError(nn.Module):
    """Mean squared error (n,) of a reconstruction: the layer behind an autoencoder whose output is explained."""

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        return (image - reconstruction).square().mean(dim=(1, 2, 3))


class _Weighting(nn.Module):
    """A layer that weighs its input, as one linear layer: its weights count as given."""

    def __init__(self, layer: SoftAttention | SqueezeExcitation) -> None:
        super().__init__()
        self._hidden = [layer]  # captum must not look inside

    def forward(self, value: Tensor) -> Tensor:
        with torch.no_grad():
            weight = self._hidden[0].weights(value)
        return value * weight


class _Normalisation(nn.Module):
    """Group normalisation as one linear layer: the image's own means and deviations count as given."""

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__()
        self._hidden = [layer]  # captum must not look inside

    def forward(self, value: Tensor) -> Tensor:
        layer = self._hidden[0]
        channels, together = value.shape[1], value.shape[1] // layer.num_groups
        with torch.no_grad():
            groups = value.reshape(len(value), layer.num_groups, -1)
            spread = (groups.var(dim=2, unbiased=False) + layer.eps).sqrt()
            mean, spread = (each.repeat_interleave(together, dim=1) for each in (groups.mean(dim=2), spread))
            weight = layer.weight / spread
            bias = layer.bias - mean * weight
        shifted: Tensor = value * weight.view(-1, channels, 1, 1) + bias.view(-1, channels, 1, 1)
        return shifted


class Reconstruction(nn.Module):
    """An autoencoder as a chain of layers, the error behind it, and layers from the error to the score, if any."""

    def __init__(self, layers: nn.Sequential, scale: nn.Sequential | None = None) -> None:
        super().__init__()
        self.layers, self.error, self.scale = layers, SquaredError(), scale

    def forward(self, image: Tensor) -> Tensor:
        error: Tensor = self.error(image, self.layers(image))
        return error if self.scale is None else self.scale(error)


def explained_network(scorer: nn.Module) -> nn.Module:
    """A copy of what gives the score, from images (n, c, h, w) to (n,), as a chain of layers that have rules.

    Raises:
        NotImplementedError: with what has no rule, in words that follow "LRP has no rule for".
    """
    scorer = copy.deepcopy(scorer).eval()
    if not isinstance(scorer, Chained):
        raise NotImplementedError(f"the scorer {type(scorer).__name__}")
    found = scorer.chain()
    layers = _chain(*found.layers)
    if not found.reconstructs:
        return layers
    return Reconstruction(layers, nn.Sequential(*found.behind) if found.behind else None)


def _chain(*modules: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for module in modules:
        for leaf in _leaves(module):
            if isinstance(leaf, _WITHOUT_EFFECT):
                continue
            if isinstance(leaf, nn.ReLU):
                leaf = nn.LeakyReLU(0.0)  # captum's own way with ReLU loses relevance before a rule of ours
            elif isinstance(leaf, _WEIGHTINGS):
                leaf = _Weighting(leaf)
            elif isinstance(leaf, nn.GroupNorm):
                leaf = _Normalisation(leaf)
            elif not isinstance(leaf, (*_LINEAR, *_ACTIVATIONS, *_SHAPES)):
                raise NotImplementedError(f"the layer {type(leaf).__name__}")
            layers.append(leaf)
    return nn.Sequential(*layers)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a chain in order; what is no chain comes whole."""
    children = list(module.children())
    if isinstance(module, nn.Sequential) or (len(children) == 1 and isinstance(children[0], nn.Sequential)
                                             and not isinstance(module, _WEIGHTINGS)):  # fmt: skip
        for child in children:
            yield from _leaves(child)
    else:
        yield module


def relevance(network: nn.Module, images: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Epsilon-LRP (eq. 3.18, with the relevance R_k of the layer above, which it lacks).

    Args:
        network: as `explained_network` gives it.
        images: (n, c, h, w).
        epsilon: added to each denominator, with its sign.

    Returns: relevance (n, c, h, w) and scores (n,). Biases and epsilon account for what an image's relevances differ by
    from its score when they are added up.
    """
    network = copy.deepcopy(network)  # captum takes rules away when it is done
    for layer in network.modules():
        rule = _rule(layer, epsilon)
        if rule is not None:
            layer.rule = rule
    with torch.enable_grad():
        found = LRP(network).attribute(images.clone().requires_grad_())
    with torch.no_grad():
        scores: Tensor = network(images)
    return found.detach(), scores


def _rule(layer: nn.Module, epsilon: float) -> Any:
    if isinstance(layer, SquaredError):
        return _HalvedRule()
    if isinstance(layer, (*_LINEAR, _Weighting, _Normalisation)):
        return EpsilonRule(epsilon)
    if isinstance(layer, _SHAPES):
        return _ShapeRule()
    if isinstance(layer, _ACTIVATIONS):
        return IdentityRule()
    return None
