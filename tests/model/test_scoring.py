"""Scoring streams: in order, a bounded number of images at a time, and unreadable files do no harm."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import amiss
from amiss.data import Collection, Item, open_images
from amiss.data.stack import prepare_item
from amiss.engines import allowed_difference
from amiss.errors import DataError
from amiss.model import FittedModel
from amiss.testing import fitted, task

PICTURES = task().unseen


@pytest.fixture(scope="module", params=["ADACL", "BCAE1"])
def model(request: pytest.FixtureRequest) -> FittedModel:
    return fitted(getattr(amiss, request.param)).model_


class Source:
    """A collection that counts: what was read, and how many of its pictures are still held by somebody."""

    def __init__(self, n: int) -> None:
        self.reads: list[int] = []
        self.live = self.most_live = 0
        self._lock = threading.RLock()
        self.collection = Collection([Item(f"p{i}", lambda i=i: self._read(i)) for i in range(n)])  # type: ignore[misc]

    def _read(self, index: int) -> np.ndarray:
        picture = PICTURES[index % len(PICTURES)].copy()
        with self._lock:
            self.reads.append(index)
            self.live += 1
            self.most_live = max(self.most_live, self.live)
        weakref.finalize(picture, self._gone)
        return picture

    def _gone(self) -> None:
        with self._lock:
            self.live -= 1


def unreadable(name: str, error: Exception) -> Item:
    def read() -> Any:
        raise error

    return Item(name, read)


def test_order_and_values_are_those_of_a_whole_score(model: FittedModel) -> None:
    rows = list(model.rows(open_images(PICTURES)))
    assert [row.item.name for row in rows] == [f"array[{i}]" for i in range(len(PICTURES))]
    result = model.score(PICTURES)
    np.testing.assert_array_equal(np.array([row.score for row in rows], np.float32), result.scores)
    np.testing.assert_array_equal([row.p_value for row in rows], result.p_values)
    np.testing.assert_array_equal([row.is_anomaly for row in rows], result.is_anomaly)
    assert all((row.map is not None) == model.gives_map for row in rows)


def test_order_is_kept_where_early_images_take_longest(model: FittedModel) -> None:
    gate = threading.Event()

    def slow() -> np.ndarray:
        gate.wait(0.2)
        return PICTURES[0]

    def fast() -> np.ndarray:
        gate.set()
        return PICTURES[1]

    items = [Item("slow", slow), *(Item(f"fast{i}", fast) for i in range(9))]
    names = [row.item.name for row in model.rows(Collection(items), 3)]
    assert names == [item.name for item in items]


@pytest.mark.parametrize("size", [1, 5, 16])
def test_a_bounded_number_of_images_is_ahead_of_the_rows(model: FittedModel, size: int) -> None:
    source = Source(300)
    ahead = []
    for done, _ in enumerate(model.rows(source.collection, size), start=1):
        ahead.append(len(source.reads) - done)
    assert sorted(source.reads) == list(range(300))
    bound = 3 * size + 32
    assert max(ahead) <= bound
    assert source.most_live <= bound
    gc.collect()
    assert source.live == 0


def test_ahead_does_not_grow_with_the_number_of_images(model: FittedModel) -> None:
    most = []
    for n in (200, 800):
        source = Source(n)
        for _ in model.rows(source.collection, 8):
            pass
        most.append(source.most_live)
    assert most[1] <= most[0] + 16


def test_closing_early_stops_reading(model: FittedModel) -> None:
    source = Source(2000)
    rows = model.rows(source.collection, 4)
    next(rows)
    rows.close()
    count = len(source.reads)
    assert count <= 64
    threading.Event().wait(0.2)
    assert len(source.reads) == count
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("amiss-read")]


def test_dropping_the_generator_stops_reading(model: FittedModel) -> None:
    source = Source(2000)
    rows = model.rows(source.collection, 4)
    next(rows)
    del rows
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("amiss-read")]
    assert len(source.reads) <= 64


def test_nothing_is_read_before_the_first_row_is_asked_for(model: FittedModel) -> None:
    source = Source(20)
    rows = model.rows(source.collection)
    assert source.reads == []
    rows.close()


def test_no_images_give_no_rows(model: FittedModel) -> None:
    assert list(model.rows(Collection([]))) == []


@pytest.mark.parametrize("size", [1, 4, None])
def test_unreadable_files_become_rows_and_the_others_stay_equal(
    model: FittedModel, size: int | None, tmp_path: Path
) -> None:
    for index, picture in enumerate(PICTURES[:12]):
        Image.fromarray(picture).save(tmp_path / f"{index:02}.png")
    alone = {row.item.name: row for row in model.rows(open_images(tmp_path), size)}
    (tmp_path / "03b.png").touch()
    (tmp_path / "05b.png").write_bytes((tmp_path / "05.png").read_bytes()[:60])
    (tmp_path / "11b.jpg").write_text("no picture")
    (tmp_path / "00a.png").symlink_to(tmp_path / "nowhere.png")
    rows = list(model.rows(open_images(tmp_path), size))
    assert [Path(row.item.name).name for row in rows] == sorted(path.name for path in tmp_path.iterdir())
    failed = [row for row in rows if row.error is not None]
    assert [Path(row.item.name).name for row in failed] == ["00a.png", "03b.png", "05b.png", "11b.jpg"]
    allowed = allowed_difference(model.calibration.scores["torch"])
    for row in rows:
        if row.error is not None:
            assert Path(row.item.name).name in row.error
            assert np.isnan(row.score)
            assert np.isnan(row.p_value)
            assert row.is_anomaly is False
            assert row.map is None
        else:
            assert abs(row.score - alone[row.item.name].score) <= allowed
            assert row.digest == alone[row.item.name].digest


def test_only_unreadable_files(model: FittedModel) -> None:
    items = [unreadable(f"x{i}", DataError(f"x{i} is cut")) for i in range(9)]
    rows = list(model.rows(Collection(items), 4))
    assert [row.error for row in rows] == [f"x{i} is cut" for i in range(9)]
    with pytest.raises(DataError, match="x0"):
        model.score(Collection(items))


def test_what_is_no_read_error_is_not_hidden(model: FittedModel) -> None:
    """A mistake in a reader is a mistake, not a bad picture."""
    items = [Item("good", lambda: PICTURES[0]), unreadable("bug", ZeroDivisionError("in a reader"))]
    with pytest.raises(ZeroDivisionError):
        list(model.rows(Collection(items)))


def test_score_names_unreadable_files_and_predict_refuses_them(model: FittedModel) -> None:
    items = [Item("good", lambda: PICTURES[0]), unreadable("bad", OSError(5, "Input/output error"))]
    result = model.score(Collection(items))
    assert result.errors[0] is None
    assert "Input/output error" in str(result.errors[1])
    assert np.isnan(result.scores[1])
    assert not np.isnan(result.scores[0])
    with pytest.raises(DataError, match="bad"):
        model.predict(Collection(items))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (300, 1), (2000, 3, 3), (16, 16, 3)], ids=lambda shape: "x".join(map(str, shape))
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pictures_of_odd_shapes_and_depths_are_scored(model: FittedModel, shape: tuple[int, ...], kind: type) -> None:
    picture = np.full(shape, 0.5 if kind is np.float32 else np.iinfo(kind).max // 2, dtype=kind)
    (row,) = model.rows(Collection([Item("odd", lambda: picture)]))
    assert row.error is None
    assert np.isfinite(row.score)


def test_sixteen_bits_and_floats_of_a_picture_score_like_its_eight_bits(model: FittedModel) -> None:
    allowed = allowed_difference(model.calibration.scores["torch"])
    eight = model.score(PICTURES[:10]).scores
    assert np.abs(model.score(PICTURES[:10].astype(np.uint16) * 257).scores - eight).max() <= allowed
    assert np.abs(model.score(PICTURES[:10].astype(np.float32) / 255).scores - eight).max() <= allowed


def test_digest_is_of_the_prepared_image(model: FittedModel) -> None:
    (row,) = model.rows(open_images(PICTURES[:1]))
    assert row.digest == prepare_item(Item("x", lambda: PICTURES[0]), model.preprocessing).digest
    assert len(row.digest) == 16
