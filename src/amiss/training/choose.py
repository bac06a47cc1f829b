"""Device and precision of training, by rule and not by a trial, so that the same seed gives the same detector."""

from __future__ import annotations

import torch
from torch import nn


def training_device(device: str) -> str:
    """`auto` to the first of cuda, mps and cpu that is there."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def training_precision(precision: str, device: str, networks: nn.Module) -> str:
    """`auto` to `bfloat16` where the device multiplies it natively and the networks gain from it, else `float32`.

    On CPUs, transposed convolutions were slower in bfloat16 than in float32 (benchmarks/speed.py), so networks that
    hold any train in float32 there.
    """
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    transposed = any(isinstance(part, nn.ConvTranspose2d) for part in networks.modules())
    if device == "cpu" and _cpu_multiplies_bfloat16() and not transposed:
        return "bfloat16"
    return "float32"


def _cpu_multiplies_bfloat16() -> bool:
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
