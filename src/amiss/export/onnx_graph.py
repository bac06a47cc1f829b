"""A scorer as one ONNX graph: `image` (n, c, h, w) in, `score` (n,) and perhaps `map` (n, h, w) out, n free."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def export_onnx(scorer: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The serialized ONNX model of a scorer.

    Args:
        scorer: in evaluation mode, on the CPU.
        shape: (channels, height, width) of the prepared image.
    """
    contiguous: Any = {"memory_format": torch.contiguous_format}
    scorer = scorer.to("cpu", **contiguous).eval()
    example = torch.zeros(2, *shape)
    with torch.no_grad():
        outputs = list(scorer(example))
    # the exporter prints its progress and warns of its own deprecations
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _quiet("torch.onnx"),
        _quiet("onnxscript"),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            scorer,
            (example,),
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("n")}},
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString()
    return graph


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
