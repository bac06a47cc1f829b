"""`amiss serve`: a page, an API and the Open Inference Protocol for fitted models."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .. import data, environment, registry, service
from ..errors import UsageError
from .console import Json, console, plain, print_json

ORDER = 6
_HELP = """Serve models: a page at /, an API, and the Open Inference Protocol at /v2.

Drop images on the page to see score, p-value and map. Programs send files to /models/NAME/score, tensors to
/v2/models/NAME/infer; /openapi.json describes both, /metrics is for Prometheus. NAME is the file's, without .amiss.

\b
A new file in place of a model's is taken up while requests go on. Ctrl-C stops when what was accepted is done.
With --store, the page also shows what was scored before, keeps what you say of it, and tells when the pictures change.
Beyond this machine (--host) a token is needed, best given as AMISS_TOKEN.

\b
Examples:
  amiss serve part.amiss
  amiss serve part.amiss lid.amiss --port 9000
  amiss serve part.amiss --store history.db --keep-images
  AMISS_TOKEN=... amiss serve part.amiss --host 0.0.0.0
"""


def register(app: typer.Typer) -> None:
    app.command("serve", help=_HELP)(serve)


def serve(
    paths: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Model files.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for one that is free.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None, typer.Option(help="That requests must bear.", envvar="AMISS_TOKEN", show_default=False)
    ] = None,
    megabytes: Annotated[int, typer.Option(help="Of one request, at most.", min=1)] = 64,
    megapixels: Annotated[float, typer.Option(help="Of one image, at most.", min=0.001, max=1_000_000)] = 64,
    files: Annotated[int, typer.Option(help="In one request, at most.", min=1)] = 64,
    waiting: Annotated[int, typer.Option(help="Images that may wait, over all requests.", min=1)] = 256,
    seconds: Annotated[float, typer.Option(help="That a request may take.", min=0.1, max=86_400)] = 60,
    engine: Annotated[
        str, typer.Option(help="onnxruntime, which needs no torch, or: auto, torch, torch-bfloat16.")
    ] = "onnxruntime",
    store: Annotated[
        str | None,
        typer.Option(help="Keep what was scored: an SQLite file, or a URL that SQLAlchemy takes.", show_default=False),
    ] = None,
    keep_days: Annotated[float, typer.Option(help="Then forget it.", min=0)] = 30,
    keep_megabytes: Annotated[float, typer.Option(help="Beyond them, forget the oldest.", min=0)] = 500,
    keep_images: Annotated[
        bool, typer.Option("--keep-images", help="Keep the images, too: amiss teach --from learns from them.")
    ] = False,
    webhook: Annotated[
        str | None,
        typer.Option(help="Address that is told when the pictures change.", envvar="AMISS_WEBHOOK", show_default=False),
    ] = None,
    json_: Json = False,
) -> None:
    environment.versions.require("serve", "amiss serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    if store is not None:
        environment.versions.require("serve", "keeping a history", "sqlalchemy", "alembic")
    elif keep_images or webhook is not None:
        option = "--keep-images" if keep_images else "--webhook"
        raise UsageError(f"{option} needs a history, where images and drift tests are kept; give --store FILE, too")
    logging.basicConfig(format="amiss: %(message)s")
    logging.getLogger("amiss").setLevel(logging.INFO)
    limits = service.web.limits.Limits(
        bytes=megabytes << 20,
        together=max(megabytes << 20, service.web.limits.Limits.together),
        pixels=round(megapixels * 1e6),
        files=files,
        waiting=waiting,
        seconds=seconds,
    )
    data.decode.allow_pixels(limits.pixels)
    listening = service.web.server.listen(host, port, token)
    load = partial(registry.load, engine=engine, without_torch=engine == "onnxruntime")
    history = None if store is None else service.web.history.History(store, keep_days, keep_megabytes)
    sender = None if webhook is None else service.webhook.Webhook(webhook, logging.getLogger("amiss").warning)
    app = service.web.app.make_app(paths, load, limits, token, history, keep_images=keep_images, webhook=sender)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"

    def ready() -> None:
        if json_:
            print_json({"address": address, "models": [path.stem for path in paths]})
        else:
            people = console()
            people.print(f"[bold]amiss[/] serves {plain(', '.join(path.stem for path in paths))} at {plain(address)}")
            people.print("Ctrl-C stops it; what has been accepted is done first.")

    service.web.server.run(app, listening, limits, ready)
