"""Facts about the machine that decide how fast things run."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path


@functools.cache
def cpu_count() -> int:
    """Number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def cpu_name() -> str:
    """The processor's name as the system gives it, with the number of processors in use."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    except OSError:
        pass
    return f"{name}, {cpu_count()} cores"


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks instead of handing them back to the system after every layer.

    A convolution's output is megabytes; by default each is mapped and unmapped anew, which costs page faults that were
    half to three quarters of the whole time on small CPUs. Process-wide, done once; `AMISS_KEEP_FREED_MEMORY=0` leaves
    the allocator alone. Returns whether it was done.
    """
    if not sys.platform.startswith("linux") or os.environ.get("AMISS_KEEP_FREED_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(mmap_threshold, 1 << 30) and mallopt(trim_threshold, (1 << 31) - 1))
