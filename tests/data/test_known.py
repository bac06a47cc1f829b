from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data.collection import Collection
from amiss.data.known import known_sets, open_known
from amiss.data.known.base import Download, IdxSet
from amiss.data.locate import cache_folder, checksum, data_folders, fetch, find
from amiss.errors import DataError, MissingDataError, UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the only one where data sets are looked for."""
    monkeypatch.setattr("amiss.data.locate._SYSTEM_FOLDERS", ())
    monkeypatch.setenv("AMISS_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    (tmp_path / "sets").mkdir()
    return tmp_path / "sets"


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_set(folder: Path, labels: list[int]) -> None:
    folder.mkdir(parents=True)
    images = np.zeros((len(labels), 28, 28), np.uint8) + np.array(labels, np.uint8)[:, None, None]
    for prefix in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))


def png(colour: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (colour,) * 3).save(stream, "PNG")
    return stream.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    squeeze = lzma.compress if path.suffix == ".xz" else gzip.compress
    path.write_bytes(squeeze(stream.getvalue()))


def kinds(collection: Collection) -> list[str | None]:
    return [item.kind for item in collection]


# --- the registry and the grammar


def test_names_are_those_of_the_files() -> None:
    assert {"mnist", "fashion-mnist", "cifar-10", "magnetic-tile"} <= set(known_sets())
    for name, known in known_sets().items():
        assert known.name == name
        assert known.title
        assert known.source
        assert known.licence
        assert known.splits
        assert known.classes


def test_keys(home: Path) -> None:
    write_idx_set(home / "mnist", [0, 1, 2, 3, 3, 1])
    collection = open_known("mnist:test:normal=3")
    assert collection.title == "mnist:test:normal=3"
    assert [item.name for item in collection][:2] == ["mnist:test[0]", "mnist:test[1]"]
    assert collection.labels().tolist() == [True, True, True, False, False, True]
    assert kinds(collection.normal) == ["3", "3"]
    assert open_known("mnist:train:normal=1,3").labels().tolist() == [True, False, True, False, False, False]
    assert open_known("mnist:train:anomalous=0").labels().tolist() == [True] + [False] * 5
    assert kinds(open_known("mnist:train:normal=3:anomalous=0")) == ["0", "3", "3"]
    assert kinds(open_known("mnist:train:normal=3:kinds=0,2")) == ["0", "2", "3", "3"]
    assert kinds(open_known("mnist:train:limit=3")) == ["0", "2", "1"]
    assert len(open_known("mnist:train:limit=99")) == 6
    assert {item.anomalous for item in open_known("mnist:train")} == {None}
    assert open_known("mnist:test")[4].read()[0, 0] == 3


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ("mnits:test", "cifar-10, .*fashion-mnist, .*did you mean mnist"),
        ("mnist", "write one of mnist:train, mnist:test"),
        ("mnist:", "write one of mnist:train, mnist:test"),
        ("mnist:dev", "no split 'dev'"),
        ("mnist:test:colour=3", "choose from normal, anomalous, kinds, limit"),
        ("mnist:test:normal", "no value"),
        ("mnist:test:normal=", "no value"),
        ("mnist:test:normal=3:normal=4", "twice"),
        ("mnist:test:normal=10", "no class '10'; choose from 0, 1, 2"),
        ("mnist:test:normal=3,", "no class ''"),
        ("fashion-mnist:test:normal=hat", "choose from 0 T-shirt/top, 1 Trouser"),
        ("mnist:test:normal=1:anomalous=1,2", "both"),
        ("mnist:test:limit=0", "whole number"),
        ("mnist:test:limit=-1", "whole number"),
        ("mnist:test:limit=many", "whole number"),
        ("mnist:test:normal=9:anomalous=8", "no image"),
    ],
)
def test_usage_errors(home: Path, spec: str, cause: str) -> None:
    write_idx_set(home / "mnist", [0, 1, 2])
    with pytest.raises(UsageError, match=cause):
        open_known(spec)


# --- the sets, in tiny copies of their official layout


def test_fashion_mnist_by_index_and_name(home: Path) -> None:
    write_idx_set(home / "FashionMNIST" / "raw", [0, 9, 3])
    assert kinds(open_known("fashion-mnist:test")) == ["T-shirt/top", "Ankle boot", "Dress"]
    for text in ("9", "ankle boot", "ANKLE BOOT"):
        assert open_known(f"fashion-mnist:test:normal={text}").labels().tolist() == [True, False, True]


def test_labels_must_fit_the_images(home: Path) -> None:
    write_idx_set(home / "mnist", [0, 10])
    with pytest.raises(DataError, match="labels"):
        open_known("mnist:test")


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_10_binary(home: Path, packed: bool) -> None:
    def batch(labels: list[int]) -> bytes:
        return b"".join(bytes([label]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024 for label in labels)

    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    members = {f"cifar-10-batches-bin/{name}": batch([i]) for i, name in enumerate(names)}
    members["cifar-10-batches-bin/test_batch.bin"] = batch([3, 9])
    if packed:
        pack(home / "cifar-10-binary.tar.gz", members)
    else:
        (home / "cifar-10" / "cifar-10-batches-bin").mkdir(parents=True)
        for name, data in members.items():
            (home / "cifar-10" / name).write_bytes(data)
    assert kinds(open_known("cifar-10:train")) == ["airplane", "automobile", "bird", "cat", "deer"]
    test = open_known("cifar-10:test:normal=Cat")
    assert test.title == "cifar-10:test:normal=Cat"
    assert test.notes == ()
    assert test.labels().tolist() == [False, True]
    pixels = test[0].read()
    assert pixels.shape == (32, 32, 3)
    assert pixels[5, 7].tolist() == [1, 2, 3]
    assert not [path for path in home.rglob("*_batch*") if packed]


def test_cifar_10_jpeg_copy_says_so(home: Path) -> None:
    members = {f"cifar10/test/{kind}/{i}.jpg": png(i) for kind in ("dog", "cat") for i in (10, 9)}
    pack(home / "cifar-10-jpeg.tar.xz", members | {"cifar10/train/cat/1.jpg": png(), "cifar10/readme.txt": b"text"})
    collection = open_known("cifar-10:test:normal=cat")
    assert collection.title == "cifar-10 (JPEG copy):test:normal=cat"
    assert any("JPEG copy" in note for note in collection.notes)
    assert [item.name for item in collection] == [f"cifar10/test/{k}/{i}.jpg" for k in ("cat", "dog") for i in (9, 10)]
    assert collection[0].read()[0, 0].tolist() == [9, 9, 9]
    assert sorted(path.name for path in home.iterdir()) == ["cifar-10-jpeg.tar.xz"]


@pytest.mark.parametrize(
    ("name", "members", "cause"),
    [
        ("cifar-10-jpeg.tar.xz", {"cifar10/train/cat/1.jpg": b""}, "holds no images of test"),
        ("cifar-10-jpeg.tar.xz", {"cifar10/test/cow/1.jpg": b""}, "ten classes"),
        ("cifar-10-jpeg.tar.xz", {"cifar10/test/cat/1.jpg": b"\0" * 31_000_000}, "of 31000000 bytes"),
        ("cifar-10-binary.tar.gz", {"x/data_batch_1.bin": b""}, "lacks test_batch.bin"),
        ("cifar-10-binary.tar.gz", {"x/test_batch.bin": b"\0" * 3072}, "is cut"),
        ("cifar-10-binary.tar.gz", {"x/test_batch.bin": b"\x0a" * 3073}, "label 10"),
    ],
)
def test_wrong_cifar_10(home: Path, name: str, members: dict[str, bytes], cause: str) -> None:
    pack(home / name, members)
    with pytest.raises(DataError, match=cause):
        open_known("cifar-10:test")


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "cifar-10-jpeg.tar.xz"])
def test_damaged_cifar_10_archives(home: Path, name: str) -> None:
    pack(home / name, {"cifar10/test/cat/1.jpg": np.random.default_rng(0).bytes(20_000)})
    whole = (home / name).read_bytes()
    for data in (whole[: len(whole) // 2], whole[:100] + b"x" * 50 + whole[150:], b"text", b""):
        (home / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            open_known("cifar-10:test")


def write_tiles(folder: Path, tiles: dict[str, list[int]]) -> None:
    for kind in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven"):
        images = folder / f"MT_{kind}" / "Imgs"
        images.mkdir(parents=True)
        for number in tiles.get(kind, []):
            Image.new("L", (6, 4)).save(images / f"exp1_num_{number}.jpg")
            Image.new("L", (6, 4)).save(images / f"exp1_num_{number}.png")


def test_magnetic_tile_with_its_table(home: Path) -> None:
    root = home / "magnetic-tile"
    write_tiles(root, {"Free": [1, 2000], "Crack": [3000]})
    (root / "groups.csv").write_text(
        "file,kind,group,part\nMT_Free/Imgs/exp1_num_1.jpg,free,0,train\n"
        "MT_Free/Imgs/exp1_num_2000.jpg,free,1,dev\nMT_Crack/Imgs/exp1_num_3000.jpg,crack,2,dev\n"
    )
    train, dev = open_known("magnetic-tile:train"), open_known("magnetic-tile:dev")
    assert [(item.kind, item.anomalous, item.group) for item in train] == [("good", False, "0")]
    assert [(item.kind, item.anomalous, item.group) for item in dev] == [("crack", True, "2"), ("good", False, "1")]
    assert [item.mask for item in dev] == [root / "MT_Crack" / "Imgs" / "exp1_num_3000.png", None]
    assert train[0].read().shape == (4, 6)
    assert any("empty" in note for note in dev.notes)
    with pytest.raises(UsageError, match="no image"):
        open_known("magnetic-tile:test")
    with (root / "groups.csv").open("a") as table:
        table.write("MT_Free/Imgs/exp1_num_5.jpg,free,0,later\n")
    Image.new("L", (6, 4)).save(root / "MT_Free" / "Imgs" / "exp1_num_5.jpg")
    with pytest.raises(DataError, match=r"num_5\.jpg no group and part"):
        open_known("magnetic-tile:train")


def test_magnetic_tile_without_its_table_keeps_tiles_whole(home: Path) -> None:
    root = home / "Magnetic-tile-defect-datasets."
    free = [tile * 1000 + exposure * 150 for tile in range(30) for exposure in range(3)]
    crack = [tile * 1000 + 450 for tile in range(0, 30, 3)]
    write_tiles(root, {"Free": free, "Crack": crack})
    parts = {split: open_known(f"magnetic-tile:{split}") for split in ("train", "dev", "test")}
    groups = {split: {item.group for item in part} for split, part in parts.items()}
    assert [len(groups[split]) for split in ("train", "dev", "test")] == [10, 8, 12]
    assert len(set.union(*groups.values())) == 30
    assert not parts["train"].labels().any()
    assert sum(map(len, parts.values())) == len(free) + len(crack)
    for part in parts.values():
        for item in part:
            assert item.group == str(int(item.name.rpartition("_")[2].removesuffix(".jpg")) // 1000)
    assert any("groups.csv" in note for note in parts["train"].notes)


def test_magnetic_tile_names_must_be_the_official_ones(home: Path) -> None:
    write_tiles(home / "magnetic-tile", {})
    with pytest.raises(DataError, match="no images"):
        open_known("magnetic-tile:train")
    Image.new("L", (6, 4)).save(home / "magnetic-tile" / "MT_Free" / "Imgs" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg is not named"):
        open_known("magnetic-tile:train")


def test_missing_sets(home: Path) -> None:
    for name, known in known_sets().items():
        assert known.locate() is None
        assert known.status() == "missing"
        with pytest.raises(MissingDataError, match=rf"{name} is not on disk.*AMISS_DATA"):
            known.load(known.splits[0])
    with pytest.raises(MissingDataError, match="github"):
        known_sets()["magnetic-tile"].get()


# --- finding and fetching


def test_folders_are_looked_into_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = home.parent / "other"
    monkeypatch.setenv("AMISS_DATA", f"{other}{os.pathsep}{home}")
    assert data_folders() == [other, home, cache_folder()]
    assert cache_folder() == home.parent / "cache" / "amiss" / "data"
    (home / "a").mkdir()
    (home / "a" / "x").write_text("")
    assert find(["b", "a"], ["x"]) == home / "a"
    assert find(["a"], ["x", "y"]) is None
    (other / "a").mkdir(parents=True)
    assert find(["a"], ["x"]) == home / "a"
    assert find(["a"], []) == other / "a"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server on this machine, and the folder it serves."""
    (tmp_path / "site").mkdir()
    handler: Callable[..., BaseHTTPRequestHandler] = partial(Quiet, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path / "site"
        server.shutdown()
        thread.join()


def test_fetch_checks_and_reports(site: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = site
    data = b"abc" * 50_000
    (folder / "x").write_bytes(data)
    (folder / "x.gz").write_bytes(gzip.compress(data))
    calls: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "x"
    digest = hashlib.sha256(data).hexdigest()
    assert fetch(f"{address}/x", target, sha256=digest, progress=lambda *done: calls.append(done)) == target
    assert target.read_bytes() == data
    assert calls[-1] == (len(data), len(data))
    fetch(f"{address}/x.gz", tmp_path / "new" / "x.gz", md5=hashlib.md5(data).hexdigest(), unpacked=True)
    assert checksum(tmp_path / "new" / "x.gz", "sha256", unpacked=True) == digest
    assert sorted(path.name for path in target.parent.iterdir()) == ["x", "x.gz"]


def test_fetch_failures_leave_nothing_and_say_where_to_put_it(site: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = site
    (folder / "x").write_bytes(b"abc" * 1000)
    target = tmp_path / "new" / "y"
    wrong = "0" * 64
    for url, options, cause in (
        (f"{address}/x", {"sha256": wrong}, "was expected"),
        (f"{address}/x", {"sha256": wrong, "limit": 100}, "larger than 100"),
        (f"{address}/x", {"sha256": wrong, "unpacked": True}, "gzip"),
        (f"{address}/x", {}, "no checksum"),
        (f"{address}/gone", {"sha256": wrong}, "404"),
        (f"{address}/away", {"sha256": wrong}, "ftp"),
        ("http://127.0.0.1:1/x", {"sha256": wrong}, "refused"),
        ("http://", {"sha256": wrong}, "host"),
        (folder.joinpath("x").as_uri(), {"sha256": wrong}, "only http"),
    ):
        with pytest.raises(MissingDataError, match=cause) as caught:
            fetch(url, target, **options)
        assert str(target) in str(caught.value)
        assert not target.parent.exists() or not list(target.parent.iterdir())


def test_get_fetches_only_what_is_missing(site: tuple[str, Path], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, folder = site
    write_idx_set(folder / "mnist", [1, 2])
    mnist = known_sets()["mnist"]
    assert isinstance(mnist, IdxSet)
    files = [
        Download(
            name, f"{address}/mnist/{name}", md5=checksum(folder / "mnist" / name, "md5", unpacked=True), unpacked=True
        )
        for name in mnist.files
    ]
    monkeypatch.setattr(type(mnist), "downloads", tuple(files))
    assert mnist.get() == cache_folder() / "mnist"
    assert kinds(mnist.load("test")) == ["1", "2"]
    (folder / "mnist" / mnist.files[0]).unlink()
    mnist.get()  # all there and whole: nothing is fetched
    (cache_folder() / "mnist" / mnist.files[0]).write_bytes(b"damaged")
    with pytest.raises(MissingDataError, match=mnist.files[0]):
        mnist.get()


def test_a_missing_set_is_fetched_when_it_is_loaded_unless_offline(
    site: tuple[str, Path], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder = site
    write_idx_set(folder / "mnist", [1, 2])
    mnist = known_sets()["mnist"]
    files = tuple(
        Download(name, f"{address}/mnist/{name}", md5=checksum(folder / "mnist" / name, "md5")) for name in mnist.files
    )
    monkeypatch.setattr(type(mnist), "downloads", files)
    monkeypatch.setenv("AMISS_OFFLINE", "1")
    with pytest.raises(MissingDataError, match="not on disk"):
        mnist.load("test")
    monkeypatch.delenv("AMISS_OFFLINE")
    assert kinds(mnist.load("test")) == ["1", "2"]
    assert "fetching it" in capsys.readouterr().err
    (cache_folder() / "mnist" / mnist.files[0]).unlink()
    (folder / "mnist" / mnist.files[0]).unlink()
    with pytest.raises(MissingDataError, match=r"not on disk.*AMISS_DATA.*could not be fetched"):
        mnist.load("test")


# --- the real sets, where they are on this machine


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_idx_sets(require_data: Callable[[str], None], name: str) -> None:
    require_data(name)
    known = known_sets()[name]
    folder = known.locate()
    assert folder is not None
    assert all(file.is_whole(folder / file.name) for file in known.downloads)
    for split, count in (("train", 60_000), ("test", 10_000)):
        collection = open_known(f"{name}:{split}:anomalous=0")
        assert len(collection) == count
        assert len(set(kinds(collection))) == 10
        assert collection[0].read().shape == (28, 28)
    assert open_known(f"{name}:test:normal=3:limit=100")[99].name == f"{name}:test[9999]"


def test_real_magnetic_tile(require_data: Callable[[str], None]) -> None:
    require_data("magnetic-tile")
    parts = [open_known(f"magnetic-tile:{split}") for split in ("train", "dev", "test")]
    assert sum(map(len, parts)) == 1344
    assert not parts[0].labels().any()
    groups = [{item.group for item in part} for part in parts]
    assert None not in set.union(*groups)
    assert len(set.union(*groups)) == sum(map(len, groups))
    anomalous = [item for part in parts for item in part if item.anomalous]
    assert len(anomalous) == 392
    masks = [np.asarray(Image.open(item.mask)) for item in anomalous if item.mask is not None]
    assert len(masks) == 392
    assert sum(not mask.any() for mask in masks) == 4
    assert parts[2][0].read().ndim == 2
