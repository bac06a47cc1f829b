"""Several scorers as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class PanelScorer(nn.Module):
    """Scorer: the sum of its members' scores, each scaled by how it scores normal images.

    A member's score counts in deviations from its mean on normal images (`settle`), so one that is sure outweighs
    others that see nothing. `map`: the same of the members that have one, scaled by their places.

    Args:
        members: scorers by name.
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        for what in ("score", "map"):
            self.register_buffer(f"{what}_mean", torch.zeros(len(members)))
            self.register_buffer(f"{what}_deviation", torch.ones(len(members)))

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

    def scaled(self, answers: list[dict[str, Tensor]], what: str) -> Tensor:
        """(k, n, ...): what the k members that say it say, in deviations from normal."""
        saying = [number for number, answer in enumerate(answers) if what in answer]
        mean, deviation = self.get_buffer(f"{what}_mean"), self.get_buffer(f"{what}_deviation")
        return torch.stack([(answers[number][what].float() - mean[number]) / deviation[number] for number in saying])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        answers = self.answers(image)
        fused = {"score": self.scaled(answers, "score").mean(dim=0)}
        if any("map" in answer for answer in answers):
            fused["map"] = self.scaled(answers, "map").mean(dim=0)
        return fused
