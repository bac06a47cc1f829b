"""The manifest of a model file, as a schema: what is not of it is refused before anything is made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..training.record import StageRecord, Strict, TrainingRecord

#: Raised when a file of this version can no longer be read by older ones.
FORMAT_VERSION = 2


class RegionOfInterestFacts(Strict):
    """See `amiss.data.region_of_interest.RegionOfInterest`."""

    height: int = Field(ge=1, le=1 << 12)
    width: int = Field(ge=1, le=1 << 12)
    runs: list[Annotated[int, Field(ge=0)]] = Field(min_length=2)
    fill: int = Field(ge=0, le=255)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.runs) != self.height * self.width or not any(self.runs[1::2]):
            raise ValueError("runs must add up to the pixels of the mask, some of them inside")
        return self


class PreprocessingFacts(Strict):
    """See `amiss.data.preprocessing.Preprocessing`."""

    colour: Literal["gray", "rgb"]
    height: int = Field(ge=1, le=1 << 15)
    width: int = Field(ge=1, le=1 << 15)
    aspect: Literal["stretch", "keep"] = "stretch"
    roi: RegionOfInterestFacts | None = None
    resize: str
    scale: str


Range = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)]


class AppearanceRanges(Strict):
    """Smallest and largest value of each measure, see `amiss.data.appearance.Appearance`."""

    top: Range
    aspect: Range
    side: Range
    brightness: Range
    contrast: Range
    sharpness: Range
    saturation: Range


class AppearanceFacts(Strict):
    """See `amiss.data.appearance.UsualAppearance`."""

    images: int = Field(ge=1)
    depths: list[int] = Field(min_length=1)
    ranges: AppearanceRanges


class Part(Strict):
    """One part of the images: how many, one digest for all, the digest of each, names where they are kept; where images
    are related, the number of groups, and, where groups are not related too, the group of each."""

    count: int = Field(ge=0)
    digest: str
    images: list[str]
    names: list[str] | None = None
    groups: int | None = Field(default=None, ge=1)
    group_names: list[str] | None = None


class SplitFacts(Strict):
    """What was used for what; `video`: the images are frames of videos; `folds`: each image both trained and
    calibrated, scored by a fit on the other folds."""

    train: Part
    stop: Part
    calibrate: Part
    source: str
    video: bool | None = None
    folds: int | None = Field(default=None, ge=2)
    labelled: Part | None = None
    discarded: Part | None = None

    def used(self) -> set[str]:
        """Digests of all images that any part holds."""
        parts = (self.train, self.stop, self.calibrate, self.labelled, self.discarded)
        return {digest for part in parts if part is not None for digest in part.images}


class ScaleFacts(Strict):
    """See `amiss.calibration.MapScale`."""

    floor: float
    threshold: float


class PrecisionChoice(Strict):
    """The fastest precision that keeps the scores, and the machine on which it was found."""

    machine: str
    precision: Literal["float32", "bfloat16"]


class LessonFacts(Strict):
    """What a model in service was taught: how many images of each label, and what that did to those kept aside."""

    date: str
    form: str
    normal: int
    anomalous: int
    kept_aside: int
    before: dict[str, float | None]
    after: dict[str, float | None]
    stage: StageRecord


class Record(Strict):
    """How a model came to be."""

    splits: SplitFacts
    training: TrainingRecord
    lessons: list[LessonFacts] = Field(default_factory=list)
    notes: list[str]
    fitted_on: str
    versions: dict[str, str]


class Manifest(Strict):
    """All that a model file says about itself; `sha256` holds the digest of every other part."""

    format: Literal["amiss model"]
    format_version: int = Field(ge=1, le=FORMAT_VERSION)
    method: str
    settings: dict[str, Any]
    preprocessing: PreprocessingFacts
    splits: SplitFacts
    appearance: AppearanceFacts | None = None
    calibration: dict[str, Annotated[list[float], Field(min_length=1)]]
    false_alarm_rate: float = Field(gt=0, lt=1)
    map_scale: ScaleFacts | None
    precision_choice: PrecisionChoice
    training: TrainingRecord
    lessons: list[LessonFacts] = Field(default_factory=list)
    notes: list[str]
    fitted_on: str
    versions: dict[str, str]
    sha256: dict[str, str]
    graphs: list[str]

    def written(self) -> dict[str, Any]:
        """As JSON holds it: facts that are not there are left out where older versions do not know them."""
        left_out = {name: getattr(self, name).model_dump(exclude_none=True) for name in ("splits", "preprocessing")}
        return self.model_dump() | left_out

    def record(self) -> Record:
        """How the model came to be."""
        return Record(**{name: getattr(self, name) for name in Record.model_fields})
