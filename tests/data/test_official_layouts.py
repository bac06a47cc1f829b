"""Data sets in their official layouts, each on a tiny tree that the test makes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.data import Collection, open_images
from amiss.data.known import known_sets, open_known
from amiss.data.protocols import inlier_categories
from amiss.errors import DataError, MissingDataError, UsageError
from amiss.testing.videos import crossing, write_video


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where data sets are looked for."""
    monkeypatch.setattr("amiss.data.locate._SYSTEM_FOLDERS", ())
    monkeypatch.setenv("AMISS_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sets").mkdir()
    return tmp_path / "sets"


def photo(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(str(path).encode())
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16), dtype=np.uint8)).save(path)


def mask(folder: Path, *names: str, marked: int = 255) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((12, 16), np.uint8)
        pixels[2:6, 3:8] = marked
        Image.fromarray(pixels).save(path)


def shown(collection: Collection) -> list[tuple[str, str | None, bool | None, str | None]]:
    """Of each image its file's name, kind and label, and the name of its mask."""
    return [
        (item.name.rpartition("/")[2], item.kind, item.anomalous, item.mask.name if item.mask else None)
        for item in collection
    ]


def test_mvtec_ad(home: Path) -> None:
    root = home / "mvtec_anomaly_detection" / "bottle"
    photo(root, "train/good/000.png", "train/good/001.png", "test/good/000.png", "test/broken_large/000.png")
    mask(root, "ground_truth/broken_large/000_mask.png")
    assert shown(open_known("mvtec-ad:bottle-train")) == [(f"00{i}.png", "good", False, None) for i in range(2)]
    test = open_known("mvtec-ad:bottle-test")
    assert shown(test) == [("000.png", "broken_large", True, "000_mask.png"), ("000.png", "good", False, None)]
    assert test.title == "mvtec-ad:bottle-test"
    assert test.notes == ()
    assert len(open_known("mvtec-ad:bottle-test:kinds=crack")) == 1
    with pytest.raises(DataError, match=r"cable/test is missing; unpack it from https://www\.mvtec\.com"):
        open_known("mvtec-ad:cable-test")
    with pytest.raises(UsageError, match="no split 'bottle'"):
        open_known("mvtec-ad:bottle")
    assert len(known_sets()["mvtec-ad"].splits) == 30


def test_mvtec_ad_2(home: Path) -> None:
    root = home / "mvtec_ad_2" / "can"
    photo(root, "train/good/0.png", "validation/good/1.png", "test_public/good/2.png", "test_public/bad/3_shift_1.png")
    photo(root, "test_private/4.png")
    mask(root, "test_public/ground_truth/bad/3_shift_1_mask.png")
    assert shown(open_known("mvtec-ad-2:can-train")) == [("0.png", "good", False, None)]
    assert shown(open_known("mvtec-ad-2:can-validation")) == [("1.png", "good", False, None)]
    assert shown(open_known("mvtec-ad-2:can-test")) == [
        ("3_shift_1.png", "bad", True, "3_shift_1_mask.png"),
        ("2.png", "good", False, None),
    ]


def test_visa(home: Path) -> None:
    root = home / "VisA_20220922"
    photo(root, *(f"candle/Data/Images/Normal/000{i}.JPG" for i in range(3)), "candle/Data/Images/Anomaly/000.JPG")
    mask(root, "candle/Data/Masks/Anomaly/000.png", marked=1)
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text(
        "object,split,label,image,mask\n"
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
        "candle,train,normal,candle/Data/Images/Normal/0001.JPG,\n"
        "candle,test,normal,candle/Data/Images/Normal/0002.JPG,\n"
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
        "pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png\n"
    )
    assert shown(open_known("visa:candle-train")) == [(f"000{i}.JPG", "good", False, None) for i in range(2)]
    assert shown(open_known("visa:candle-test")) == [
        ("0002.JPG", "good", False, None),
        ("000.JPG", "anomaly", True, "000.png"),
    ]
    with pytest.raises(DataError, match=r"1cls\.csv, line 6: .*pcb1.*does not exist"):
        open_known("visa:pcb1-test")
    with pytest.raises(DataError, match="lists no image of cashew-train"):
        open_known("visa:cashew-train")


def test_btad(home: Path) -> None:
    root = home / "BTech_Dataset_transformed" / "03"
    photo(root, "train/ok/0.bmp", "test/ok/1.bmp", "test/ko/2.bmp")
    mask(root, "ground_truth/ko/2.png")
    assert shown(open_known("btad:03-train")) == [("0.bmp", "good", False, None)]
    assert shown(open_known("btad:03-test")) == [("2.bmp", "ko", True, "2.png"), ("1.bmp", "good", False, None)]


def test_dagm(home: Path) -> None:
    for part in ("Train", "Test"):
        photo(home / "DAGM2007" / "Class1" / part, *(f"{i:04}.PNG" for i in range(3)))
        mask(home / "DAGM2007" / "Class1" / part, "Label/0001_label.PNG")
        (home / "DAGM2007" / "Class1" / part / "Label" / "Labels.txt").write_text(
            "1\n1\t1\t0001.PNG\t0\t0001_label.PNG\n"
        )
    for part in ("train", "test"):
        assert shown(open_known(f"dagm:Class1-{part}")) == [
            ("0000.PNG", "good", False, None),
            ("0001.PNG", "defect", True, "0001_label.PNG"),
            ("0002.PNG", "good", False, None),
        ]


def test_kolektor_sdd(home: Path) -> None:
    for item in range(1, 7):
        photo(home / "KolektorSDD" / f"kos{item:02}", "Part0.jpg", "Part1.jpg")
        mask(home / "KolektorSDD" / f"kos{item:02}", "Part0_label.bmp", marked=0)
        mask(home / "KolektorSDD" / f"kos{item:02}", "Part1_label.bmp")
    train, test = open_known("kolektor-sdd:train"), open_known("kolektor-sdd:test")
    assert {item.group for item in test} == {"kos03", "kos06"}
    assert {item.group for item in train} == {"kos01", "kos02", "kos04", "kos05"}
    assert shown(test)[:2] == [("Part0.jpg", "good", False, None), ("Part1.jpg", "defect", True, "Part1_label.bmp")]
    photo(home / "KolektorSDD", "other/0.jpg")
    with pytest.raises(DataError, match="in no folder kos01"):
        open_known("kolektor-sdd:train")


def test_kolektor_sdd_2(home: Path) -> None:
    for part in ("train", "test"):
        photo(home / "KolektorSDD2" / part, "10.png", "11.png")
        mask(home / "KolektorSDD2" / part, "10_GT.png", marked=0)
        mask(home / "KolektorSDD2" / part, "11_GT.png")
        assert shown(open_known(f"kolektor-sdd-2:{part}")) == [
            ("10.png", "good", False, None),
            ("11.png", "defect", True, "11_GT.png"),
        ]


def test_caltech_256(home: Path) -> None:
    root = home / "256_ObjectCategories"
    photo(
        root, *(f"{kind}/{kind[:3]}_{i:04}.jpg" for kind in ("001.ak47", "002.flag", "257.clutter") for i in range(9))
    )
    everything = open_known("caltech-256:all")
    assert Counter(item.kind for item in everything) == {"001.ak47": 9, "002.flag": 9, "257.clutter": 9}
    assert {item.anomalous for item in everything} == {None}
    one = open_known("caltech-256:all:normal=Flag:anomalous=257")
    assert Counter((item.kind, item.anomalous) for item in one) == {("002.flag", False): 9, ("257.clutter", True): 9}
    protocol = inlier_categories(everything, 1, "257.clutter", seed=0)
    assert {item.kind for item in protocol.test if item.anomalous} == {"257.clutter"}
    with pytest.raises(UsageError, match="no class '300'"):
        open_known("caltech-256:all:normal=300")


def test_ham10000(home: Path) -> None:
    """Of 402 nevi of 201 lesions 6600 / 6705 train, to the lesion; everything else tests."""
    root = home / "ham10000"
    kinds = ["nv"] * 402 + ["mel", "bkl"]
    rows = [f"HAM_{i // 2},ISIC_{i},{kind},histo" for i, kind in enumerate(kinds)]
    photo(root, "HAM10000_images_part_1/ISIC_0.jpg")
    picture = (root / "HAM10000_images_part_1" / "ISIC_0.jpg").read_bytes()
    (root / "HAM10000_images_part_2").mkdir()
    for i in range(len(kinds)):
        (root / f"HAM10000_images_part_{1 + i % 2}" / f"ISIC_{i}.jpg").write_bytes(picture)
    (root / "HAM10000_metadata.csv").write_text("\n".join(["lesion_id,image_id,dx,dx_type", *rows]))
    train, test = open_known("ham10000:train"), open_known("ham10000:test")
    assert len(train) == 396
    assert {(item.kind, item.anomalous) for item in train} == {("good", False)}
    assert Counter(item.kind for item in test) == {"good": 6, "mel": 1, "bkl": 1}
    assert not {item.group for item in train} & {item.group for item in test}
    assert [item.name for item in open_known("ham10000:train")] == [item.name for item in train]
    (root / "HAM10000_images_part_2" / "ISIC_1.jpg").unlink()
    with pytest.raises(DataError, match=r"line 3: there is no ISIC_1\.jpg"):
        open_known("ham10000:train")


def test_state_farm(home: Path) -> None:
    root = home / "state-farm"
    photo(root, "imgs/train/c0/0.jpg", "imgs/train/c9/0.jpg")
    rows, picture = [], (root / "imgs/train/c0/0.jpg").read_bytes()
    for driver in range(20):
        for label in (0, 1, 9):
            (root / f"imgs/train/c{label}").mkdir(exist_ok=True)
            (root / f"imgs/train/c{label}/{driver}.jpg").write_bytes(picture)
            rows.append(f"p{driver:03},c{label},{driver}.jpg")
    (root / "driver_imgs_list.csv").write_text("\n".join(["subject,classname,img", *rows]))
    train, test, rest = (open_known(f"state-farm:{part}") for part in ("train", "test", "rest"))
    drivers = [{item.group for item in part} for part in (train, test, rest)]
    assert [len(names) for names in drivers] == [16, 4, 20]
    assert not drivers[0] & drivers[1]
    assert Counter(item.kind for item in train) == {"good": 16}
    assert Counter(item.kind for item in test) == {"good": 4, "texting right": 4, "talking": 4}
    assert Counter(item.kind for item in rest) == {"good": 4, "texting right": 20, "talking": 20}


def test_lobby(home: Path) -> None:
    root = home / "lobby"
    photo(root, *(f"frames/{i}.png" for i in range(30)))
    rows = [f"frames/{i}.png,2,2,4,4,{i >= 20},{i}" for i in range(30) for _ in range(10)]
    (root / "boxes.csv").write_text("\n".join(["file,x,y,width,height,anomalous,group", *rows]))
    parts = {part: open_known(f"lobby:{part}") for part in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [210, 30, 60]
    assert [sum(bool(item.anomalous) for item in part) for part in parts.values()] == [70, 10, 20]
    groups = [{item.group for item in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    assert parts["test"][0].read().shape == (4, 4)
    larger = open_known("lobby:oversize-test")
    assert [item.name for item in larger] == [item.name for item in parts["test"]]
    assert larger[0].read().shape == (6, 9)


def test_shanghaitech(home: Path) -> None:
    root = home / "shanghaitech"
    photo(root, *(f"testing/frames/01_0014/{i:03}.jpg" for i in range(5)))
    write_video(root / "training" / "videos" / "01_001.avi", crossing(1, 6))
    (root / "testing" / "test_frame_mask").mkdir()
    np.save(root / "testing" / "test_frame_mask" / "01_0014.npy", np.array([0, 0, 1, 1, 0]))
    train, test = open_known("shanghaitech:train"), open_known("shanghaitech:test")
    assert [item.anomalous for item in test] == [False, False, True, True, False]
    assert {(item.group, item.video) for item in test} == {("01_0014", "01_0014")}
    assert len(train) == 6
    assert {item.anomalous for item in train} == {False}
    photo(root, *(f"training/frames/01_001/{i:03}.jpg" for i in range(3)))
    assert len(open_known("shanghaitech:train")) == 3
    np.save(root / "testing" / "test_frame_mask" / "01_0014.npy", np.array([0, 1]))
    with pytest.raises(DataError, match="has 5 frames, and its labels are of 2"):
        open_known("shanghaitech:test")
    (root / "testing" / "test_frame_mask" / "01_0014.npy").unlink()
    with pytest.raises(DataError, match="cannot be read as the labels"):
        open_known("shanghaitech:test")


@pytest.mark.parametrize("name", ["mvtec-ad", "kolektor-sdd-2", "visa", "ham10000", "lobby"])
def test_what_is_missing_is_told_with_its_place(home: Path, name: str) -> None:
    known = known_sets()[name]
    with pytest.raises(MissingDataError, match=rf"{name} is not on disk; put {known.files[0]}.*{known.folders[0]}"):
        open_images(f"{name}:{known.splits[0]}")
