"""Several scorers as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class PanelScorer(nn.Module):
    """Scorer: the weighted sum of its members' scores, each scaled by how it scores normal images.

    A member's score counts in deviations from its mean on normal images (`settle`), times its weight (`weigh`). `map`:
    the same of the members that have one, scaled by their places.

    Args:
        members: scorers by name.
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        for what in ("score", "map"):
            self.register_buffer(f"{what}_mean", torch.zeros(len(members)))
            self.register_buffer(f"{what}_deviation", torch.ones(len(members)))
        self.register_buffer("weight", torch.full((len(members),), 1 / len(members)))

    def answers(self, image: Tensor) -> list[dict[str, Tensor]]:
        """What each member says, as it is."""
        return [member(image) for member in self.members.values()]

    def settle(self, answers: list[dict[str, Tensor]]) -> None:
        """Take the scales from the members' answers on normal images that none has learnt from."""
        for number, answer in enumerate(answers):
            for what, values in answer.items():
                deviation, mean = torch.std_mean(values.double(), correction=0)
                self.get_buffer(f"{what}_mean")[number] = mean
                self.get_buffer(f"{what}_deviation")[number] = deviation.clamp(min=1e-6)

    def weigh(self, weights: Tensor) -> None:
        """Set the members' weights (k,), not negative; brought to a sum of one. All zero means all alike."""
        alike = torch.full_like(weights, 1 / len(weights))
        self.get_buffer("weight").copy_(weights / weights.sum() if weights.sum() > 0 else alike)

    def scaled(self, answers: list[dict[str, Tensor]], what: str) -> Tensor:
        """(k, n, ...): what the k members that say it say, in deviations from normal, times their weights."""
        saying = [number for number, answer in enumerate(answers) if what in answer]
        mean, deviation = self.get_buffer(f"{what}_mean"), self.get_buffer(f"{what}_deviation")
        weight = self.get_buffer("weight")
        return torch.stack(
            [weight[number] * (answers[number][what].float() - mean[number]) / deviation[number] for number in saying]
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        answers = self.answers(image)
        fused = {"score": self.scaled(answers, "score").sum(dim=0)}
        if any("map" in answer for answer in answers):
            fused["map"] = self.scaled(answers, "map").sum(dim=0)
        return fused
