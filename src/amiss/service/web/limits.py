"""What the service takes on, and what it says when that is too much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Bounds of what the service takes on at once; each is positive and finite.

    Attributes:
        bytes: of the body of one request.
        pixels: of one image; more are refused before they are unpacked (decompression bombs).
        files: images in one request.
        waiting: images that have been accepted and not yet answered, over all requests.
        requests: that send images, at once.
        together: bytes of the bodies of all requests at once.
        seconds: from the first byte of a request to its answer.

    Raises:
        UsageError: a limit not positive and finite, or one for all requests that is lower than that of a single one.
    """

    bytes: int = 64 << 20
    pixels: int = 64_000_000
    files: int = 64
    waiting: int = 256
    requests: int = 128
    together: int = 512 << 20
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise UsageError(f"the limit of {name} is {value}; give a finite number above 0")
        if self.bytes > self.together:
            raise UsageError(
                f"a request may have {self.bytes} bytes, and all together only {self.together}; lower the first"
            )
        if self.files > self.waiting:
            raise UsageError(
                f"a request may have {self.files} files, and only {self.waiting} images may wait; raise the second"
            )


class BusyError(Exception):
    """The queue is full.

    Attributes:
        retry_after: whole seconds after which it is likely to have room again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many images are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class Admission:
    """Counts the images that have been accepted and not yet answered.

    Args:
        most: of them at once.

    >>> admission = Admission(2)
    >>> with admission.of(2):
    ...     admission.accepted
    2
    >>> admission.accepted
    0
    """

    def __init__(self, most: int) -> None:
        self._most = most
        #: Images accepted and not yet answered.
        self.accepted = 0
        self._seconds = 0.0

    @contextmanager
    def of(self, images: int) -> Iterator[None]:
        """Room for so many images while the block runs. Raises `BusyError` where there is none."""
        if self.accepted + images > self._most:
            raise BusyError(self.retry_after)
        self.accepted += images
        try:
            yield
        finally:
            self.accepted -= images

    def took(self, images: int, seconds: float) -> None:
        """So many images were scored in so many seconds; what follows is taken to be alike."""
        self._seconds = 0.8 * self._seconds + 0.2 * seconds / images

    @property
    def retry_after(self) -> int:
        """Whole seconds, from 1 to 60, in which what was accepted is likely to be done."""
        return min(60, max(1, math.ceil(self.accepted * self._seconds)))
