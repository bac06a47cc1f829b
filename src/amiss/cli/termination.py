"""SIGTERM, by which a system asks a program to end: work is put down in good order, and in time."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import TracebackType
from typing import Any, Self

#: Exit code of a program that SIGTERM has ended.
TERMINATED = 128 + signal.SIGTERM
#: Seconds that work has to be put down.
_PATIENCE = 1.5


class Termination:
    """While the block lasts, SIGTERM interrupts as Ctrl-C does; what does not heed it in time is ended all the same.

    That costs no more than a power cut would: what is written has its name only once it is whole, and `--resume` goes
    on from what was flushed. Python runs a handler only between two steps of its own, and a long computation in C is
    one step; so a thread hears of the signal too, by the byte that Python's C handler sends it at once.

    A verb that ends in good order by itself sets a handler of its own, and has all the time it takes.

    Attributes:
        asked: has SIGTERM come, and interrupted?
    """

    def __init__(self) -> None:
        self.asked = False
        self._left = threading.Event()
        self._ours = threading.current_thread() is threading.main_thread()  # others may not set handlers

    def __enter__(self) -> Self:
        if self._ours:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._before: Any = signal.signal(signal.SIGTERM, self._interrupt)
            self._told_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._watch, name="amiss-termination", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            self._left.set()
            signal.set_wakeup_fd(self._told_before)
            signal.signal(signal.SIGTERM, self._before)
            self._writer.close()
            self._thread.join()
            self._reader.close()

    def _interrupt(self, number: int, frame: object) -> None:
        if not self.asked:  # a second one must not disturb what the first has begun
            self.asked = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while heard := self._reader.recv(1):
            ours = heard[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == self._interrupt
            if ours and not self._left.wait(_PATIENCE):
                os._exit(TERMINATED)
