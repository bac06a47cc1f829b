"""What is written down about training; kept in the model file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A part of a model file's manifest: frozen, without NaN, and nothing is converted."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


class StageRecord(Strict):
    """One stage of training: its epochs, the chosen one, and the figures of each.

    Attributes:
        averaged: epochs whose weights were averaged, the last ones; 1 where those of the chosen epoch were taken.
        ended_early: did it end because nothing more was gained, or were all epochs used? None where no such rule was
            set, and in files of earlier versions.
    """

    stage: str
    epochs: int
    chosen_epoch: int
    chosen_by: str = "held-out normals"
    better: Literal["min", "max"]
    steps_per_epoch: int
    seconds: float
    figures: list[dict[str, int | float]]
    averaged: int = 1
    ended_early: bool | None = None

    @property
    def in_words(self) -> str:
        """Its name, the chosen epoch where there were several, how it ended, and its seconds."""
        chosen = f"epoch {self.chosen_epoch} of {self.epochs} chosen, " if self.epochs > 1 else ""
        if self.averaged > 1:
            chosen = f"mean of the last {self.averaged} of {self.epochs} epochs, "
        ended = {True: "ended when nothing more was gained, ", False: "all epochs used, ", None: ""}[self.ended_early]
        return f"{self.stage}: {chosen}{ended}{self.seconds:.1f} s"

    @classmethod
    def of_computation(cls, name: str, seconds: float, figures: dict[str, float]) -> StageRecord:
        """Of a stage without epochs."""
        return cls(
            stage=name,
            epochs=1,
            chosen_epoch=1,
            chosen_by="no choice",
            better="min",
            steps_per_epoch=1,
            seconds=round(seconds, 1),
            figures=[{"epoch": 1, **figures}],
        )


class TrainingRecord(Strict):
    """How a detector was trained."""

    device: str
    precision: str
    stages: Annotated[list[StageRecord], Field(min_length=1)]

    def members(self) -> list[dict[str, Any]]:
        """Of each member of a panel its `name`, the `seconds` its training took, its `weight`, and its `share` in how
        much the fused score varies; none for other methods."""
        *stages, last = self.stages
        weight = "weight of "
        names = [name.removeprefix(weight) for name in last.figures[-1] if name.startswith(weight)]
        return [
            {
                "name": name,
                "seconds": round(sum(each.seconds for each in stages if each.stage.startswith(f"{name}: ")), 1),
                "weight": last.figures[-1][f"{weight}{name}"],
                "share": last.figures[-1][f"share of {name}"],
            }
            for name in names
        ]
