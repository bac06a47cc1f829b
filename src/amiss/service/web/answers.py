"""What all routes say alike: which model is meant, and why there is no answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .models import ServedModel, ServedModels


class Problem(BaseModel):
    """Why there is no other answer."""

    error: str = Field(description="One sentence.", examples=["there is no model 'parts'; there are: part"])


def _problem(description: str) -> dict[str, Any]:
    return {"model": Problem, "description": description}


#: Of every route.
ALWAYS: dict[int | str, dict[str, Any]] = {
    401: _problem("The token is missing or wrong."),
    421: _problem("The service has no token, and was addressed by a name that is not its machine's own."),
    503: _problem("The request took too long."),
}
#: Of routes that name a model.
OF_MODEL: dict[int | str, dict[str, Any]] = {
    404: _problem("There is no such model, or no such version."),
    422: _problem("A value that cannot be meant."),
}
#: Of routes that take images.
OF_IMAGES: dict[int | str, dict[str, Any]] = {
    **OF_MODEL,
    400: _problem("The body is malformed."),
    413: _problem("The request is too large."),
    429: {
        **_problem("Too many images are waiting, or too many requests are being sent."),
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
}


def found(models: ServedModels, name: str, version: str | None = None) -> ServedModel:
    """The model of this name, in this version where one is asked for. Raises `HTTPException` (404)."""
    if name not in models:
        raise HTTPException(404, f"there is no model {name!r}; there are: {', '.join(models)}")
    served = models[name]
    if version not in (None, served.version):
        raise HTTPException(404, f"there is no version {version!r} of {name}; in service is {served.version}")
    return served
