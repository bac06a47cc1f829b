from __future__ import annotations

import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amiss.data.arrays import array_collection, load_array_file, read_idx
from amiss.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
STACK = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)

per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def test_items_are_named_and_read_from_the_array() -> None:
    stack = STACK.copy()
    collection = array_collection(stack, "x")
    stack[1] = 7
    assert [item.name for item in collection] == ["x[0]", "x[1]"]
    np.testing.assert_array_equal(collection[1].read(), np.full((3, 5), 7))


def test_nan_is_found_when_it_is_read() -> None:
    collection = array_collection(np.array([[[0.0]], [[np.nan]]]), "x")
    collection[0].read()
    with pytest.raises(DataError, match=r"x\[1\] holds NaN"):
        collection[1].read()


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"x\[None\]"),
        (np.zeros((8, 8, 4), np.uint8), r"x\[None\]"),
        (np.zeros((8, 8), np.uint8), r"x\[None\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"np\.moveaxis\(x, 1, -1\)"),
        (np.zeros((2, 1, 8, 8), np.uint8), "moveaxis"),
        (np.zeros((2, 8, 8, 2), np.uint8), r"\(n, h, w"),
        (np.zeros((2, 2, 8, 8, 2), np.uint8), r"\(n, h, w"),
        (np.zeros((2, 2, 2, 8, 8, 3), np.uint8), r"\(n, h, w"),
        (np.zeros(8, np.uint8), r"\(n, h, w"),
        (np.zeros((0, 8, 8), np.uint8), "no pixels"),
        (np.zeros((2, 0, 8), np.uint8), "no pixels"),
        (np.zeros((2, 8, 8), np.int64), "convert"),
        (np.zeros((2, 8, 8), complex), "convert"),
        (np.zeros((2, 8, 8), object), "convert"),
    ],
)
def test_wrong_arrays_are_refused_at_once(array: np.ndarray, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        array_collection(array, "t")


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 1), (2, 8, 8, 3), (2, 8, 8, 4), (2, 3, 8, 3)])
def test_accepted_shapes(shape: tuple[int, ...]) -> None:
    assert array_collection(np.zeros(shape, np.uint8), "x")[0].read().shape in ((8, 8), (8, 8, 3), (3, 8, 3))


def test_npy_is_mapped_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", STACK)
    collection = load_array_file(tmp_path / "a.npy")
    pixels = collection[1].read()
    np.testing.assert_array_equal(pixels, STACK[1])
    assert type(pixels) is np.ndarray
    assert pixels.flags.writeable
    assert collection[0].name == f"{tmp_path / 'a.npy'}[0]"


def test_npz_with_labels_and_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=STACK, other=np.zeros(3), labels=[0, 1], kinds=["good", "crack"])
    collection = load_array_file(tmp_path / "a.npz")
    assert [(item.anomalous, item.kind) for item in collection] == [(False, "good"), (True, "crack")]


def test_npz_with_one_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", whatever=STACK)
    assert [item.anomalous for item in load_array_file(tmp_path / "a.npz")] == [None, None]


@pytest.mark.parametrize(
    ("arrays", "cause"),
    [
        ({"a": STACK, "b": STACK}, "one called 'images'"),
        ({"labels": np.zeros(2)}, "one called 'images'"),
        ({}, "nothing"),
        ({"images": STACK, "labels": np.array([0, 1, 1])}, "one entry per image"),
        ({"images": STACK, "labels": np.array([0, 2])}, "only hold 0"),
        ({"images": STACK, "labels": np.array(["a", "b"])}, "only hold 0"),
        ({"images": STACK, "kinds": np.array(["a"])}, "one entry per image"),
        ({"images": np.array([{}, {}], dtype=object)}, "cannot be read"),
        ({"images": np.zeros((8, 8, 3), np.uint8)}, r"x\[None\]"),
    ],
)
def test_wrong_npz(tmp_path: Path, arrays: dict[str, np.ndarray], cause: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=cause) as caught:
        load_array_file(tmp_path / "a.npz")
    assert "a.npz" in str(caught.value)


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}, {}], dtype=object))
    np.save(tmp_path / "whole.npy", STACK)
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-3])
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "npy.npz").write_bytes(whole)
    (tmp_path / "a.txt").write_text("text")
    for name in ("pickled.npy", "cut.npy", "text.npy", "text.npz", "npy.npz", "missing.npy", "missing.idx", "a.txt"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            load_array_file(tmp_path / name)


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz", "x-idx3-ubyte", "x-idx3-ubyte.gz", "A.IDX"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_sniffed(tmp_path: Path, name: str, pack: type[bytes]) -> None:
    (tmp_path / name).write_bytes(pack(idx_bytes(STACK)))
    np.testing.assert_array_equal(load_array_file(tmp_path / name)[1].read(), STACK[1])


@per_example
@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_idx_round_trip(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    data = idx_bytes(array)
    (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(tmp_path / "a")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@per_example
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\0\0\x08\x01", b"\0\0\x0e\x03", b"\x1f\x8b\x08\0"]), st.booleans()
)
def test_random_bytes_raise_only_data_error(tmp_path: Path, data: bytes, magic: bytes, packed: bool) -> None:
    (tmp_path / "a.idx").write_bytes(gzip.compress(magic + data) if packed else magic + data)
    with contextlib.suppress(DataError):
        read_idx(tmp_path / "a.idx")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "starts with nothing"),
        (b"\0\0\x07\x01\0\0\0\0", "starts with"),
        (b"\0\0\x08\x03\0\0", "within its header"),
        (idx_bytes(STACK)[:-1], "is cut"),
        (idx_bytes(STACK) + b"x", "goes on after"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "is cut"),
        (struct.pack(">BBBB40I", 0, 0, 8, 80, *[1] * 40), "within its header"),
        (struct.pack(">BBBB80I", 0, 0, 8, 80, *[1] * 80) + b"x", "cannot be read"),
        (struct.pack(">BBBB4I", 0, 0, 8, 4, 0, *[2**32 - 1] * 3), "cannot be read"),
    ],
)
def test_wrong_idx(tmp_path: Path, data: bytes, cause: str, pack: type[bytes]) -> None:
    (tmp_path / "a.idx").write_bytes(pack(data))
    with pytest.raises(DataError, match=cause):
        read_idx(tmp_path / "a.idx")


def test_gzip_bomb_and_cut_gzip(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_bytes(STACK) + b"\0" * 50_000_000)
    (tmp_path / "bomb").write_bytes(bomb)
    with pytest.raises(DataError, match="goes on after"):
        read_idx(tmp_path / "bomb")
    (tmp_path / "cut").write_bytes(gzip.compress(idx_bytes(STACK))[:-12])
    with pytest.raises(DataError, match="cut"):
        read_idx(tmp_path / "cut")
