"""Device and precision of training, by rule and not by a trial, so that the same seed gives the same detector."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import UsageError


def training_device(device: str) -> str:
    """`auto` to the first of cuda, mps and cpu that is there. Raises `UsageError` for a device that is not."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there.get(device):
        found = ", ".join(name for name in there if there[name])
        raise UsageError(f"this machine has no device {device}; set device to auto, or to one of: {found}")
    return device


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
