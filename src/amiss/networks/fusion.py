"""Several scorers as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .head import answers, sees_image
from .memory_bank import upsampled


class OnImage(nn.Module):
    """A member that is asked about the image, where others are asked about a backbone's features."""

    sees_image = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Tensor, image: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.inner(image)
        return found


class LastFrames(nn.Module):
    """A member that is asked about the last frames of a clip, where others need more of them.

    Args:
        inner: scorer of clips (n, t, c, h, w).
        frames: t.
    """

    def __init__(self, inner: nn.Module, frames: int) -> None:
        super().__init__()
        self.inner, self._frames = inner, frames

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.inner(clip[:, -self._frames :])
        return found


class FusedScorer(nn.Module):
    """Scorer: the weighted sum of its members' scores, each scaled by its scores of normal images.

    A member's score counts in deviations from its mean on normal images (`fit_scale`), times its weight
    (`set_weights`). `map`: the same of the members that have one, scaled by the pixels of their maps.

    Args:
        members: scorers by name.

    Shape: (n, c, h, w), or clips (n, t, c, h, w), to `score` (n,) and, where a member has one, `map` (n, h, w).
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        #: Does a member see the image beside a backbone's features?
        self.sees_image = any(sees_image(member) for member in members.values())
        for what in ("score", "map"):
            self.register_buffer(f"{what}_mean", torch.zeros(len(members)))
            self.register_buffer(f"{what}_deviation", torch.ones(len(members)))
        self.register_buffer("weight", torch.full((len(members),), 1 / len(members)))

    def member_outputs(self, features: Tensor, image: Tensor | None = None) -> list[dict[str, Tensor]]:
        """The outputs of each member, as they are: `score` (n,) and perhaps `map` (n, h, w).

        Args:
            features: images (n, c, h, w), clips (n, t, c, h, w), or the feature maps of a backbone.
            image: the images, where `features` are feature maps.
        """
        image = features if image is None else image
        return [answers(member, features, image) for member in self.members.values()]

    def fit_scale(self, outputs: list[dict[str, Tensor]]) -> None:
        """Fit the scales to the members' outputs for normal images that none has learnt from."""
        for number, output in enumerate(outputs):
            for what, values in output.items():
                deviation, mean = torch.std_mean(values.double(), correction=0)
                self.get_buffer(f"{what}_mean")[number] = mean
                self.get_buffer(f"{what}_deviation")[number] = deviation.clamp(min=1e-6)

    def set_weights(self, weights: Tensor) -> None:
        """Set the members' weights (k,), not negative; brought to a sum of one. All zero means equal weights."""
        equal = torch.full_like(weights, 1 / len(weights))
        self.get_buffer("weight").copy_(weights / weights.sum() if weights.sum() > 0 else equal)

    def scaled(self, outputs: list[dict[str, Tensor]], what: str) -> Tensor:
        """(k, n, ...): output `what` of the k members that have it, in deviations from normal, times their weights."""
        having = [number for number, output in enumerate(outputs) if what in output]
        mean, deviation = self.get_buffer(f"{what}_mean"), self.get_buffer(f"{what}_deviation")
        weight = self.get_buffer("weight")
        return torch.stack(
            [weight[number] * (outputs[number][what].float() - mean[number]) / deviation[number] for number in having]
        )

    def fuse(self, outputs: list[dict[str, Tensor]], size: Sequence[int]) -> dict[str, Tensor]:
        """The sums of the members' outputs: `score` (n,) and perhaps `map` (n, *size)."""
        fused = {"score": self.scaled(outputs, "score").sum(dim=0)}
        if any("map" in output for output in outputs):
            sized = [
                {"map": upsampled(output["map"], (size[0], size[1]))} if "map" in output else {} for output in outputs
            ]
            fused["map"] = self.scaled(sized, "map").sum(dim=0)
        return fused

    def forward(self, features: Tensor, image: Tensor | None = None) -> dict[str, Tensor]:
        shown = features if image is None else image
        return self.fuse(self.member_outputs(features, image), shown.shape[-2:])
