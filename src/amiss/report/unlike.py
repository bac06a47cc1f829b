"""Images that look unlike those learnt from, counted while rows stream by; and what to say where most are flagged."""

from __future__ import annotations

from ..model import Row

#: With fewer images, most of them being flagged says nothing.
_FEWEST = 5


class UnlikeImages:
    """Counts rows with a note, and flagged ones; holds the first note.

    Args:
        noun: what the images are called, `image` or `frame`.
    """

    def __init__(self, noun: str = "image") -> None:
        self._noun = noun
        self._scored = self._flagged = self._unlike = self._both = 0
        self._first = ""

    def add(self, row: Row) -> None:
        """Take in the next row; one that is known to be anomalous is flagged for a reason."""
        if row.error is not None:
            return
        if row.note is not None:
            self._unlike += 1
            self._first = self._first or f"{row.item.name}: {row.note}"
        if not row.item.anomalous:
            self._scored += 1
            self._flagged += row.is_anomaly
            self._both += row.is_anomaly and row.note is not None

    @property
    def count(self) -> int:
        """Images with a note so far."""
        return self._unlike

    def sentences(self) -> list[str]:
        """What a reader of the decisions must know; none where the images look as usual, and few are flagged."""
        return [said for said in (self.looks(), self.flags()) if said]

    def looks(self) -> str | None:
        """How many images look unlike those learnt from, where any does."""
        if not self._unlike:
            return None
        many = f"{self._noun}s look" if self._unlike > 1 else f"{self._noun} looks"
        return f"{self._unlike} {many} unlike those learnt from; the first, {self._first}"

    def flags(self) -> str | None:
        """What to think of it where most images are flagged."""
        if self._scored < _FEWEST or 2 * self._flagged <= self._scored:
            return None
        cause = (
            f"{self._both} of them look unlike those learnt from"
            if 2 * self._both > self._flagged
            else "compare camera, light, crop and size with those learnt from"
        )
        return (
            f"most of your {self._noun}s are flagged ({self._flagged} of {self._scored}): "
            f"that is more likely the pictures than the parts; {cause}"
        )
