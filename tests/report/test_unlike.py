"""What is said of images that look unlike those learnt from, and where most are flagged."""

from __future__ import annotations

from typing import Any

import pytest

from amiss.data import Item
from amiss.model.scoring import Row
from amiss.report.unlike import UnlikeImages


def row(flag: bool, note: str | None = None, anomalous: bool | None = None, error: str | None = None) -> Row:
    item: Any = Item(f"{note}.png", lambda: pytest.fail("nothing is read"), anomalous=anomalous)
    return Row(item, 0.5, 0.5, flag, error=error, note=note)


def told(*rows: Row, noun: str = "image") -> list[str]:
    counts = UnlikeImages(noun)
    for each in rows:
        counts.add(each)
    return counts.sentences()


@pytest.mark.parametrize(
    "rows",
    [
        (),
        [row(True)] * 5 + [row(False)] * 5,
        [row(True)] * 4,  # too few to say anything
        [row(True, anomalous=True)] * 9 + [row(False, anomalous=False)] * 5,  # flagged for a reason
        [row(True, error="no picture")] * 9,
    ],
)
def test_nothing_is_said_without_cause(rows: list[Row]) -> None:
    assert told(*rows) == []


def test_the_first_note_stands_for_all() -> None:
    assert told(row(False, "darker")) == ["1 image looks unlike those learnt from; the first, darker.png: darker"]
    assert told(row(False, "darker"), row(False, "wider"), noun="frame")[0].startswith("2 frames look unlike")


def test_most_being_flagged_is_told_with_its_likely_cause() -> None:
    (alone,) = told(*[row(True)] * 6, *[row(False)] * 5)
    assert alone.startswith("most of your images are flagged (6 of 11): that is more likely the pictures than")
    assert alone.endswith("compare camera, light, crop and size with those learnt from")
    assert told(*[row(True, "darker")] * 5)[1].endswith("5 of them look unlike those learnt from")
