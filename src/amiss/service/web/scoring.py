"""The API for people: files in, scores, regions, maps and explanations out."""

from __future__ import annotations

import base64
import datetime
import io
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Self

import numpy as np
from fastapi import APIRouter, File, Query, UploadFile
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ... import explain as explaining
from ...calibration import Decision, smoothed
from ...data import Item
from ...data.decode import decode_image
from ...data.stack import Prepared
from ...errors import NoMapError
from ...explain.explainer import Explainer
from ...explain.images import explain_prepared
from ...model import FittedModel, Row
from ...report.explained import explained_picture
from ...report.heatmap import layer
from ...report.table import as_record
from .answers import OF_IMAGES, OF_MODEL, found
from .keeping import Keeping
from .limits import Limits
from .models import ServedModel, ServedModels

#: Pixels of the longest side of a map, and of the picture of an explanation.
_LONGEST = 1024

Rate = Annotated[
    float | None,
    Query(gt=0, lt=1, description="Share of normal images that may be flagged; else the model's own.", examples=[0.01]),
]


class DecisionFacts(BaseModel):
    """How a model decides at a false-alarm rate."""

    false_alarm_rate: float = Field(examples=[0.01])
    threshold: float = Field(description="Scores above it are flagged.", examples=[3.52])
    flagged: int = Field(description="Calibration scores above the threshold.", examples=[0])
    n: int = Field(description="Calibration scores.", examples=[120])
    guaranteed: bool = Field(description="Are there enough of them to promise the rate?")
    images_needed: int = Field(description="How many it takes.", examples=[99])
    promise: str = Field(description="What is promised, in words.")

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Those of a decision."""
        facts = decision.to_dict()
        return cls(
            **{name: facts[name] for name in cls.model_fields if name in facts},
            flagged=int(np.count_nonzero(decision.is_anomaly(decision.draws))),
            n=decision.n,
            promise=decision.explain(),
        )


class ModelSummary(BaseModel):
    """A model in service."""

    name: str = Field(examples=["part"])
    version: str = Field(description="First digits of the file's SHA-256.", examples=["3f0c81a2b47e"])
    since: datetime.datetime = Field(description="When it was loaded.")
    method: str = Field(examples=["Panel"])
    gives_map: bool = Field(description="Can it tell where?")
    decision: DecisionFacts
    fault: str | None = Field(description="Why the file that lies there now is not in use.")

    @classmethod
    def facts_of(cls, served: ServedModel, fault: str | None) -> dict[str, Any]:
        """All of it, as keyword arguments."""
        return {
            "name": served.name,
            "version": served.version,
            "since": served.since,
            "method": served.model.label,
            "gives_map": served.model.gives_map,
            "decision": DecisionFacts.of(served.decision),
            "fault": fault,
        }


class ModelDetails(ModelSummary):
    """A model in service, with what it decides by."""

    learnt_from: str = Field(description="How many images were fitted on.", examples=["480 images"])
    fitted_on: str = Field(examples=["2026-01-31"])
    calibration: list[float] = Field(description="Scores of normal images, rising.", examples=[[0.8, 1.1, 2.4]])
    earlier: str | None = Field(description="The version that one can go back to.", examples=["9b1e07c43d55"])


class Taken(BaseModel):
    """The limits of the service."""

    bytes: int = Field(description="Of one request.", examples=[67108864])
    pixels: int = Field(description="Of one image.", examples=[64000000])
    files: int = Field(description="In one request.", examples=[64])


class Overview(BaseModel):
    """The models in service, and what is taken."""

    models: list[ModelSummary]
    limits: Taken
    history: bool = Field(description="Are results kept?")
    images: bool = Field(description="Are the images kept, too?")


class RegionFacts(BaseModel):
    """Where an image is amiss."""

    box: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels.", examples=[[20, 12, 40, 31]])
    area: int = Field(description="Pixels.", examples=[702])
    peak: float = Field(description="Of the map in the region.", examples=[4.1])
    mask: dict[str, list[int]] = Field(description="Run-length encoded, as in COCO files.")


class ExplanationFacts(BaseModel):
    """Why an image has its score."""

    words: str = Field(examples=["amiss (p 0.010): the reason sits in 2.1 % of the image, upper left; ..."])
    replaced: dict[str, float | bool] = Field(description="What becomes of the score if that looked as expected.")
    notes: list[str]
    picture: str = Field(description="The image with the reason marked: PNG, base64.")


class Result(BaseModel):
    """The result of one image; without scores where it could not be read."""

    name: str = Field(examples=["7.png"])
    score: float | None = Field(description="Higher is more anomalous.", examples=[2.31])
    p_value: float | None = Field(description="Share of normal images that score at least so high.", examples=[0.34])
    is_anomaly: bool | None = Field(examples=[False])
    error: str | None = Field(description="Why it could not be read.")
    note: str | None = Field(description="In what it looks unlike the images learnt from, where it does.")
    size: tuple[int, int] | None = Field(default=None, description="Height and width.", examples=[[480, 640]])
    map: str | None = Field(default=None, description="Colours to lay over the image: PNG, base64.")
    regions: list[RegionFacts] | None = None
    explanation: ExplanationFacts | None = None
    entry: int | None = Field(default=None, description="Its number in the history, where there is one.")


class Scored(BaseModel):
    """A result for every file, in their order."""

    model: str = Field(examples=["part"])
    version: str = Field(examples=["3f0c81a2b47e"])
    decision: DecisionFacts
    results: list[Result]


def scoring_router(models: ServedModels, limits: Limits, keeping: Keeping) -> APIRouter:
    """The routes below `/models`."""
    router = APIRouter(prefix="/models", tags=["Scoring"])

    @router.get("")
    async def overview() -> Overview:
        """The models in service."""
        summaries = [
            ModelSummary(**ModelSummary.facts_of(served, models.faults.get(name))) for name, served in models.items()
        ]
        taken = Taken(bytes=limits.bytes, pixels=limits.pixels, files=limits.files)
        return Overview(models=summaries, limits=taken, history=keeping.picture is not None, images=keeping.images)

    @router.get("/{name}", responses=OF_MODEL)
    async def details(name: str) -> ModelDetails:
        """One model, with the scores of normal images by which it decides."""
        served = found(models, name)
        record = served.model.record
        images = "frames" if served.model.learnt_from_video else "images"
        return ModelDetails(
            **ModelSummary.facts_of(served, models.faults.get(name)),
            learnt_from=f"{record.splits.train.count} {images}",  # their source is a path of this machine
            fitted_on=record.fitted_on,
            calibration=np.sort(served.decision.draws).tolist(),
            earlier=await run_in_threadpool(models.earlier, name),
        )

    @router.post("/{name}/back", responses=OF_MODEL)
    async def back(name: str) -> ModelSummary:
        """Go back to the version before the present one, which is kept."""
        found(models, name)
        await models.go_back(name)
        return ModelSummary(**ModelSummary.facts_of(found(models, name), models.faults.get(name)))

    @router.get("/{name}/decision", responses=OF_MODEL)
    async def decision(name: str, false_alarm_rate: Rate = None) -> DecisionFacts:
        """How the model decides at a false-alarm rate, and what that does to the calibration scores."""
        return DecisionFacts.of(found(models, name).decision_at(false_alarm_rate))

    @router.post("/{name}/score", responses=OF_IMAGES)
    async def score(
        name: str,
        files: Annotated[list[UploadFile], File(description="Images: PNG, JPEG, TIFF, WebP and others.")],
        map: Annotated[bool, Query(description="Give each image its map.")] = False,
        regions: Annotated[bool, Query(description="List where each image is amiss.")] = False,
        explain: Annotated[
            str | None,
            Query(description="Say why, with this explainer; takes seconds an image.", examples=["counterfactual"]),
        ] = None,
        false_alarm_rate: Rate = None,
        keep: Annotated[bool, Query(description="Keep the results, where there is a history.")] = True,
    ) -> Scored:
        """Score one or many images. A file that cannot be read becomes a result with its error; the others go on."""
        served = found(models, name)
        if (map or regions) and not served.model.gives_map:
            raise NoMapError(f"{name} ({served.model.label}) answers for the whole image and has no map")
        if len(files) > limits.files:
            raise HTTPException(413, f"the request has {len(files)} files; send at most {limits.files} at once")
        decided = served.decision_at(false_alarm_rate)
        contents = [await file.read() for file in files]
        items = [
            _item(file.filename or f"file {n}", content, limits)
            for n, (file, content) in enumerate(zip(files, contents, strict=True), 1)
        ]
        with served.admitted(len(items)):
            scored = await served.scored(items, keeping.picture if explain is None else _LONGEST)
            results = [await run_in_threadpool(_result, served, row, decided, map, regions) for _, row in scored]
            if explain is not None:
                model, explainer = await served.explained(_asked, served.model, explain, false_alarm_rate)
                for result, (prepared, row) in zip(results, scored, strict=True):
                    if row.error is None:
                        result.explanation = await served.explained(_explanation, model, explainer, prepared)
            if keep:
                entries = await keeping.keep(served, scored, decided, contents)
                for result, entry in zip(results, entries, strict=True):
                    result.entry = entry
        return Scored(model=name, version=served.version, decision=DecisionFacts.of(decided), results=results)

    return router


def _item(name: str, content: bytes, limits: Limits) -> Item:
    return Item(name, partial(decode_image, content, name, limits.pixels))


def _result(served: ServedModel, row: Row, decision: Decision, with_map: bool, with_regions: bool) -> Result:
    result = Result(**as_record(row), size=row.size)
    if row.error is not None:
        return result
    result.is_anomaly = bool(decision.is_anomaly([row.score])[0])
    result.p_value = float(decision.p_values([row.score])[0])
    if with_map:
        result.map = _png(coloured(served, row))
    if with_regions:
        result.regions = [RegionFacts(**region.to_dict()) for region in served.model.regions_of(row)]
    return result


def coloured(served: ServedModel, row: Row) -> NDArray[np.uint8]:
    """The map of a row as colours to lay over its image, as large as it, at most 1024 pixels a side: (h, w, 4)."""
    scale = served.model.map_scale
    if row.map is None or row.size is None or scale is None:
        raise NoMapError(f"{served.name} ({served.model.label}) answers for the whole image and has no map")
    shrinking = min(1.0, _LONGEST / max(row.size))
    height, width = (max(1, round(side * shrinking)) for side in row.size)
    inner = served.model.preprocessing.region(*row.size)
    return layer(smoothed(row.map)[inner], scale.threshold, scale.floor, (height, width))


def _asked(model: FittedModel, name: str, rate: float | None) -> tuple[FittedModel, Explainer]:
    """The explainer of this name, and the model as it is to be explained."""
    explainer = explaining.get_explainer(name)()
    explainer.check(model)
    return model if rate is None else model.with_false_alarm_rate(rate), explainer


def _explanation(model: FittedModel, explainer: Explainer, prepared: Prepared) -> ExplanationFacts:
    assert prepared.picture is not None  # it has been scored
    explanation = explain_prepared(model, explainer, prepared)
    picture = explained_picture(explanation, prepared.picture, model.preprocessing)
    return ExplanationFacts(
        words=explanation.words,
        replaced=asdict(explanation.replaced),
        notes=explanation.notes,
        picture=_png(picture),
    )


def _png(pixels: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3)
    return base64.b64encode(stream.getvalue()).decode("ascii")
