"""Facts about the machine that decide how fast things run."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

#: Instruction sets that decide how fast networks run.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


@functools.cache
def cpu_count() -> int:
    """Number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def cpu_name() -> str:
    """The processor's name as the system gives it, what of its features makes networks fast, and the number in use."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags.update(value.split())
    except OSError:
        pass
    features = ", ".join(feature for feature in _FEATURES if feature in flags)
    return f"{name} ({features}), {cpu_count()} cores" if features else f"{name}, {cpu_count()} cores"


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


class PeakMemory:
    """The largest resident memory of this process since the object was made, where the system says (Linux)."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the mark starts anew; see proc(5)
            self._known = True
        except OSError:
            self._known = False

    def megabytes(self) -> int | None:
        """In MiB; None where the system does not say."""
        if not self._known:
            return None
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024
