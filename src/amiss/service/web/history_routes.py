"""The history over HTTP: shown, and labelled by people."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .answers import Problem
from .history import Entry, Filter, History, Label
from .keeping import Keeping

Number = Annotated[int, PathParameter(description="Of the entry.", ge=0, lt=1 << 62)]
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such entry, or nothing is kept of it."},
    422: {"model": Problem, "description": "A value that cannot be meant."},
}


class EntryFacts(BaseModel):
    """An image that was scored."""

    id: int = Field(examples=[42])
    time: datetime.datetime
    model: str = Field(examples=["part"])
    version: str = Field(examples=["3f0c81a2b47e"])
    name: str = Field(examples=["7.png"])
    score: float = Field(examples=[2.31])
    p_value: float = Field(examples=[0.34])
    is_anomaly: bool
    false_alarm_rate: float = Field(description="At which it was decided.", examples=[0.01])
    label: Label | None = Field(description="What people say of it.")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Those of an entry."""
        same = ("id", "model", "version", "name", "score", "p_value", "is_anomaly", "label")
        time = entry.time.replace(tzinfo=datetime.UTC)
        return cls(time=time, false_alarm_rate=entry.rate, **{key: getattr(entry, key) for key in same})


class Page(BaseModel):
    """Entries, the latest first."""

    entries: list[EntryFacts]
    more: bool = Field(description="Are there older ones?")


class Feedback(BaseModel):
    """`normal`: this is fine; `anomalous`: this is amiss; null takes either back."""

    label: Label | None = Field(examples=["anomalous"])


def history_router(history: History, keeping: Keeping) -> APIRouter:
    """The routes below `/history`."""
    router = APIRouter(prefix="/history", tags=["History"])

    @router.get("", responses={422: _UNKNOWN[422]})
    async def entries(
        model: Annotated[str | None, Query(description="Of this model.")] = None,
        is_anomaly: Annotated[bool | None, Query(description="Flagged, or not.")] = None,
        label: Annotated[Label | Literal["none"] | None, Query(description="What people said.")] = None,
        name: Annotated[str | None, Query(description="A part of the image's name.", max_length=200)] = None,
        before: Annotated[int | None, Query(description="Older than this entry.", ge=0, lt=1 << 62)] = None,
        limit: Annotated[int, Query(description="At most so many.", ge=1, le=200)] = 50,
    ) -> Page:
        """What was scored, the latest first."""
        wanted = Filter(model, is_anomaly, label, name, before)
        found = await keeping.ask(history.entries, wanted, limit + 1)
        return Page(entries=[EntryFacts.of(entry) for entry in found[:limit]], more=len(found) > limit)

    picture: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A small JPEG."}}

    @router.get("/{entry}/thumbnail", response_class=Response, responses={**_UNKNOWN, **picture})
    async def thumbnail(entry: Number) -> Response:
        """A small picture of the image."""
        content = await keeping.ask(history.thumbnail, entry)
        if content is None:
            raise _unknown(entry)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    @router.put("/{entry}/label", responses=_UNKNOWN)
    async def label_entry(entry: Number, feedback: Feedback) -> Feedback:
        """Say of an image that it is fine, or amiss."""
        if not await keeping.ask(history.label, entry, feedback.label):
            raise _unknown(entry)
        return feedback

    return router


def _unknown(entry: int) -> HTTPException:
    return HTTPException(404, f"there is no entry {entry} in the history; it may have been forgotten")
