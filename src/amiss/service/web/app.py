"""The application: gate, routes, page, and what is said when something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from ... import __version__
from ...errors import AmissError, UsageError
from ...model import FittedModel
from ...service import web
from ..webhook import Webhook
from .answers import ALWAYS
from .gate import Gate, busy, refusal
from .inference import SCHEMAS, inference_router
from .keeping import Keeping
from .limits import BusyError, Limits
from .metrics import Metrics
from .models import ServedModels, Workers
from .scoring import scoring_router

if TYPE_CHECKING:
    from .history import History

_STATIC = Path(__file__).parent / "static"
_DESCRIPTION = """Fitted models of amiss: images in, scores, p-values, decisions and maps out.

Where the service has a token, send it as `Authorization: Bearer TOKEN`.
"""

logger = logging.getLogger("amiss")


def make_app(
    paths: Sequence[Path],
    load: Callable[[Path], FittedModel],
    limits: Limits | None = None,
    token: str | None = None,
    history: History | None = None,
    *,
    keep_images: bool = False,
    webhook: Webhook | None = None,
) -> FastAPI:
    """The service as an ASGI application; loads the models at once.

    Args:
        paths: of the model files.
        load: gives the fitted model of a file, now and whenever the file is another.
        limits: what is taken on at once.
        token: that requests must bear; without one, only names of the machine itself are answered to.
        history: keeps what was scored, and watches it for drift; closed when the service stops.
        keep_images: keep the images themselves, too, to teach with.
        webhook: is told where pictures have changed; closed when the service stops.

    Raises:
        UsageError: two files of one name, a model that does not score single images, or an empty token.
        ModelFileError: a file that cannot be used.
    """
    if token is not None and not token.strip():
        raise UsageError("the token is empty; give one that nobody guesses, or none at all")
    limits, metrics = limits or Limits(), Metrics()
    workers = Workers(limits, metrics)
    models = ServedModels(paths, load, workers, metrics)
    drift = None
    if history is not None:
        tell = webhook.send if webhook is not None else lambda record: None
        drift = web.drifting.DriftWatch(history, metrics, tell)
        for served in models.values():
            drift.of(served)  # so that the metrics have them from the start
    keeping = Keeping(history, drift, keep_images)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(models.watch())
        yield
        watching.cancel()
        workers.close()
        keeping.close()
        if webhook is not None:
            webhook.close()

    app = FastAPI(
        title="amiss",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        responses=ALWAYS,
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
    )
    app.include_router(scoring_router(models, limits, keeping))
    app.include_router(inference_router(models, limits, keeping))
    if history is not None and drift is not None:
        app.include_router(web.drift_routes.drift_router(models, drift, keeping))
        app.include_router(web.history_routes.history_router(history, keeping))

    @app.get("/metrics", tags=["Watching the service"], response_class=Response, responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "In Prometheus' text format."}
    })  # fmt: skip
    async def figures() -> Response:
        """Requests, images, seconds, batches and reloads, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=_STATIC))
    app.add_middleware(Gate, limits=limits, metrics=metrics, token=token)
    _tell_errors(app)
    _complete_schema(app)
    return app


def _tell_errors(app: FastAPI) -> None:
    """One sentence for everything that goes wrong, and nothing of what lies on the machine."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, error.detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return refusal(422, f"{'.'.join(map(str, first['loc'][1:])) or 'the body'} is wrong: {first['msg']}")

    @app.exception_handler(AmissError)
    async def meant(_: Request, error: AmissError) -> JSONResponse:
        return refusal(422, str(error))

    @app.exception_handler(BusyError)
    async def full(_: Request, error: BusyError) -> JSONResponse:
        return busy(error)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return refusal(500, "something went wrong in the service; its log says what")


def _complete_schema(app: FastAPI) -> None:
    """Add to the OpenAPI document what FastAPI does not find: the parts of requests that are read by hand."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema["components"]["schemas"].update(SCHEMAS)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
