"""The Open Inference Protocol, version 2, over REST, with tensors in JSON or as bytes.

The protocol: https://github.com/kserve/open-inference-protocol. Tensors as bytes: its extension `binary_tensor_data`:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ... import __version__
from ...calibration import Decision
from ...data import Item
from ...data.decode import check_pixels
from ...errors import UsageError
from ...model import Row
from .answers import OF_IMAGES, OF_MODEL, found
from .keeping import Keeping
from .limits import Limits
from .models import ServedModel, ServedModels

#: Where in the body the JSON ends, and the bytes of tensors begin.
_LENGTH = "Inference-Header-Content-Length"
#: Tensors in JSON take ten times their size in memory.
_LARGEST_JSON = 16 << 20
#: Of each output, the protocol's name of the type, and NumPy's.
_DATATYPES = {"score": ("FP32", "<f4"), "p_value": ("FP64", "<f8"), "is_anomaly": ("BOOL", "?"), "map": ("FP32", "<f4")}
_BYTES = "application/octet-stream"


class ServerFacts(BaseModel):
    """What the server is."""

    name: str = Field(examples=["amiss"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class Health(BaseModel):
    """Empty: that there is an answer is the answer."""


class TensorFacts(BaseModel):
    """Name, type and shape of an input or output; -1 for any number."""

    name: str = Field(examples=["image"])
    datatype: str = Field(examples=["UINT8"])
    shape: list[int] = Field(examples=[[-1, -1, -1, -1]])


class ModelFacts(BaseModel):
    """What a model takes and gives."""

    name: str = Field(examples=["part"])
    versions: list[str] = Field(examples=[["3f0c81a2b47e"]])
    platform: str = Field(examples=["amiss_panel"])
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class InputTensor(BaseModel):
    """A tensor of a request; its values stand in `data`, or, `parameters.binary_data_size` bytes, behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedOutput(BaseModel):
    """An output that is asked for, as bytes where `parameters.binary_data` is true."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferenceRequest(BaseModel):
    """Images to score; without `outputs`, all are given. `parameters.false_alarm_rate` decides at another rate."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None


class OutputTensor(BaseModel):
    """A tensor of an answer; its values, row by row, stand in `data`, or, as bytes, behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferenceAnswer(BaseModel):
    """Scores, p-values, decisions and maps of the images."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


_REQUEST_EXAMPLE = {
    "inputs": [{"name": "image", "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [12, 200, 34, 180]}],
    "outputs": [{"name": "score"}, {"name": "p_value"}, {"name": "is_anomaly"}],
}
_SCHEMA = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
#: Of the parts of a request, for the OpenAPI document; FastAPI finds those of answers by itself.
SCHEMAS: dict[str, Any] = _SCHEMA.pop("$defs")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _SCHEMA, "example": _REQUEST_EXAMPLE}},
    }
}


def inference_router(models: ServedModels, limits: Limits, keeping: Keeping) -> APIRouter:
    """The routes below `/v2`."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("", response_model=ServerFacts)
    async def server() -> ServerFacts:
        """What the server is."""
        return ServerFacts(name="amiss", version=__version__, extensions=["binary_tensor_data"])

    @router.get("/health/live", response_model=Health)
    async def live() -> Health:
        """Is the server up?"""
        return Health()

    @router.get("/health/ready", response_model=Health)
    async def ready() -> Health:
        """Are all models loaded? They are before the first request is taken."""
        return Health()

    async def facts(name: str, version: str | None = None) -> ModelFacts:
        """What a model takes and gives."""
        return _facts(found(models, name, version))

    async def model_ready(name: str, version: str | None = None) -> Health:
        """Is the model loaded?"""
        found(models, name, version)
        return Health()

    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Score images: input `image` (n, h, w, c) UINT8 with 1 or 3 channels; outputs `score`, `p_value`, `is_anomaly`
        (n,) and, where the method has one, `map` (n, h', w').
        """
        served = found(models, name, version)
        body = await request.body()
        asked, images = await run_in_threadpool(_parsed, body, request.headers.get(_LENGTH), limits)
        wanted, decision = _wanted(asked, served), served.decision_at(_rate(asked))
        items = [Item(f"image[{i}]", partial(check_pixels, image, f"image[{i}]")) for i, image in enumerate(images)]
        with served.admitted(len(items)):
            scored = await served.scored(items, keeping.picture)
            await keeping.keep(served, scored, decision)
        rows = [row for _, row in scored]
        return await run_in_threadpool(_answer, asked, served, wanted, rows, decision)

    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.get(path, response_model=ModelFacts, responses=OF_MODEL)(facts)
        router.get(f"{path}/ready", response_model=Health, responses=OF_MODEL)(model_ready)
        answers = {**OF_IMAGES, 200: {"model": InferenceAnswer, "content": {_BYTES: {}}}}
        router.post(f"{path}/infer", responses=answers, openapi_extra=_BODY)(infer)
    return router


def _facts(served: ServedModel) -> ModelFacts:
    height, width = served.model.preprocessing.shape[1:]
    outputs = [
        TensorFacts(name=name, datatype=_DATATYPES[name][0], shape=[-1] if name != "map" else [-1, height, width])
        for name in _outputs(served)
    ]
    return ModelFacts(
        name=served.name,
        versions=[served.version],
        platform=f"amiss_{served.model.method.name}",
        inputs=[TensorFacts(name="image", datatype="UINT8", shape=[-1, -1, -1, -1])],
        outputs=outputs,
    )


def _outputs(served: ServedModel) -> list[str]:
    return [name for name in _DATATYPES if name != "map" or served.model.gives_map]


def _parsed(body: bytes, length: str | None, limits: Limits) -> tuple[InferenceRequest, NDArray[np.uint8]]:
    """The request, and its images (n, h, w) or (n, h, w, 3).

    Raises:
        HTTPException: 400 where the body is malformed, 413 where it holds too many images, too large ones, or too much
            JSON.
        UsageError: images of another type or shape.
    """
    end = len(body) if length is None else int(length) if length.isdecimal() else -1
    if not 0 <= end <= len(body):
        raise HTTPException(
            400, f"{_LENGTH} is {length}, and the body has {len(body)} bytes; give the length of the JSON"
        )
    if end > _LARGEST_JSON:
        raise HTTPException(413, f"the JSON has more than {_LARGEST_JSON} bytes; send tensors as bytes")
    try:
        asked = InferenceRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(400, f"{where} is no inference request: {first['msg']}") from None
    if [tensor.name for tensor in asked.inputs] != ["image"]:
        raise UsageError("the inputs must be one tensor, called image")
    tensor = asked.inputs[0]
    shape = tensor.shape
    if tensor.datatype != "UINT8" or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
        raise UsageError(
            f"image is {tensor.datatype} of the shape {shape}; send UINT8 of the shape [n, h, w, c] with c = 1 or 3"
        )
    if shape[0] > limits.files or shape[1] * shape[2] > limits.pixels:
        raise HTTPException(
            413, f"image has the shape {shape}; send at most {limits.files} images of at most {limits.pixels} pixels"
        )
    return asked, _values(tensor, body[end:])


def _values(tensor: InputTensor, behind: bytes) -> NDArray[np.uint8]:
    count = math.prod(tensor.shape)
    if tensor.data is None:
        size = tensor.parameters.get("binary_data_size")
        if size != count or len(behind) != count:
            raise HTTPException(
                400, f"image takes {count} bytes behind the JSON, but there are {len(behind)}, announced as {size}"
            )
        return np.frombuffer(behind, np.uint8).reshape(tensor.shape)
    try:
        given = np.asarray(tensor.data)
    except ValueError:  # lists of different lengths
        given = np.empty(0)
    if given.dtype.kind != "i" or given.size != count or given.min() < 0 or given.max() > 255:
        raise HTTPException(400, f"image takes {count} whole numbers from 0 to 255 in its data, row by row")
    return given.astype(np.uint8).reshape(tensor.shape)


def _wanted(asked: InferenceRequest, served: ServedModel) -> dict[str, bool]:
    """The outputs to give, and whether each is wanted as bytes."""
    all_binary = asked.parameters.get("binary_data_output") is True
    if asked.outputs is None:
        return dict.fromkeys(_outputs(served), all_binary)
    for output in asked.outputs:
        if output.name not in _outputs(served):
            raise UsageError(f"{served.name} has no output {output.name!r}; there are: {', '.join(_outputs(served))}")
    return {output.name: output.parameters.get("binary_data", all_binary) is True for output in asked.outputs}


def _rate(asked: InferenceRequest) -> float | None:
    rate = asked.parameters.get("false_alarm_rate")
    if rate is None or (isinstance(rate, int | float) and not isinstance(rate, bool)):
        return rate
    raise UsageError(f"the false-alarm rate is {rate!r}; give one between 0 and 1, such as 0.01")


def _answer(
    asked: InferenceRequest, served: ServedModel, wanted: Mapping[str, bool], rows: Sequence[Row], decision: Decision
) -> Response:
    scores = np.array([row.score for row in rows], dtype=np.float32)
    make: dict[str, Callable[[], NDArray[Any]]] = {
        "score": lambda: scores,
        "p_value": lambda: decision.p_values(scores),
        "is_anomaly": lambda: decision.is_anomaly(scores),
        "map": lambda: np.stack([row.map for row in rows if row.map is not None]),
    }
    outputs, behind = [], []
    for name, binary in wanted.items():
        datatype, dtype = _DATATYPES[name]
        values = make[name]().astype(dtype, copy=False)
        output = OutputTensor(name=name, datatype=datatype, shape=list(values.shape))
        if binary:
            behind.append(values.tobytes())
            output.parameters = {"binary_data_size": len(behind[-1])}
        else:
            output.data = values.ravel().tolist()
        outputs.append(output)
    answer = InferenceAnswer(model_name=served.name, model_version=served.version, id=asked.id, outputs=outputs)
    head = answer.model_dump_json(exclude_none=True).encode()
    if not behind:
        return Response(head, media_type="application/json")
    return Response(b"".join([head, *behind]), headers={_LENGTH: str(len(head))}, media_type=_BYTES)
