"""Layouts that people use are recognised, or refused with a command; masks and defects are never learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from amiss.data import open_images
from amiss.data.layouts import anomalous_folders, find_masks, recognise
from amiss.errors import DataError


def photo(*paths: Path) -> None:
    """Pictures with many grey levels, each another one."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(str(path).encode())
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16), dtype=np.uint8)).save(path)


def mask(*paths: Path, marked: int = 255) -> None:
    """Masks with a square of this grey level; of level 0 they mark nothing."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((12, 16), np.uint8)
        pixels[2:6, 3:8] = marked
        Image.fromarray(pixels).save(path)


def learnt(root: Path) -> list[str]:
    return [item.name.removeprefix(f"{root.as_posix()}/") for item in open_images(root, "fit").normal]


def labels(root: Path, purpose: str = "eval") -> dict[str, bool | None]:
    items = open_images(root, purpose)  # type: ignore[arg-type]
    return {item.name.removeprefix(f"{root.as_posix()}/"): item.anomalous for item in items}


def numbered(folder: Path, count: int = 3, ending: str = "png") -> list[Path]:
    return [folder / f"{i}.{ending}" for i in range(count)]


# -- normal folders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("normal", "other"), [("OK", "NG"), ("ok", "ko"), ("Good", "bad"), ("defect-free", "dent")])
def test_normal_folders_by_their_words(tmp_path: Path, normal: str, other: str) -> None:
    photo(*numbered(tmp_path / normal), *numbered(tmp_path / other))
    assert learnt(tmp_path) == [f"{normal}/{i}.png" for i in range(3)]
    assert any(normal in note for note in open_images(tmp_path, "fit").notes)
    assert labels(tmp_path) == {f"{normal}/{i}.png": False for i in range(3)} | {
        f"{other}/{i}.png": True for i in range(3)
    }


def test_a_set_inside_the_folder_is_found(tmp_path: Path) -> None:
    root = tmp_path / "bottle"
    photo(*numbered(root / "train" / "good"), *numbered(root / "test" / "good"), *numbered(root / "test" / "crack"))
    assert learnt(tmp_path) == [f"bottle/train/good/{i}.png" for i in range(3)]
    assert sum(bool(anomalous) for anomalous in labels(tmp_path).values()) == 3
    assert len(labels(tmp_path)) == 6
    assert len(labels(tmp_path, "score")) == 9


def test_several_sets_are_refused_with_the_command(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        photo(*numbered(tmp_path / name / "train" / "good"), *numbered(tmp_path / name / "test" / "crack"))
    with pytest.raises(DataError, match=r"several sets, bottle, cable.*amiss fit .*bottle$"):
        open_images(tmp_path, "fit")
    with pytest.raises(DataError, match=r"amiss eval MODEL .*bottle$"):
        open_images(tmp_path, "eval")
    assert set(labels(tmp_path, "score").values()) == {None}


def test_lines_that_are_not_divided_are_one_set(tmp_path: Path) -> None:
    for line in ("line1", "line2"):
        photo(*numbered(tmp_path / line / "OK", 2), *numbered(tmp_path / line / "NG", 1))
    assert learnt(tmp_path) == [f"line{line}/OK/{i}.png" for line in (1, 2) for i in range(2)]
    assert sum(bool(anomalous) for anomalous in labels(tmp_path).values()) == 2


@pytest.mark.parametrize("name", ["NG", "cracked", "bad_parts", "not ok"])
def test_a_folder_of_anomalies_alone_is_refused_with_the_command(tmp_path: Path, name: str) -> None:
    photo(*numbered(tmp_path / "monday"), *numbered(tmp_path / name))
    with pytest.raises(DataError, match=rf"{name}, which speaks of anomalies.*amiss fit .*monday$"):
        open_images(tmp_path, "fit")
    assert len(labels(tmp_path, "score")) == 6


def test_images_beside_a_folder_of_anomalies_are_refused(tmp_path: Path) -> None:
    photo(*numbered(tmp_path), *numbered(tmp_path / "reject"))
    with pytest.raises(DataError, match=r"amiss fit '.*\*\.\*'$"):
        open_images(tmp_path, "fit")


def test_what_is_learnt_whole_is_said(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "monday"), *numbered(tmp_path / "tuesday"))
    (note,) = open_images(tmp_path, "fit").notes
    assert "all 6 images" in note
    assert "monday, tuesday" in note


def test_a_table_of_kinds_tells_instead_of_folders(tmp_path: Path) -> None:
    photo(tmp_path / "a" / "0.png", tmp_path / "ng" / "1.png")
    (tmp_path / "groups.csv").write_text("file,kind\na/0.png,good\nng/1.png,crack\n")
    assert learnt(tmp_path) == ["a/0.png"]


@pytest.mark.parametrize("pattern", ["*/*.png", "**/*.png"])
def test_patterns_do_not_take_anomalies(tmp_path: Path, pattern: str) -> None:
    photo(*numbered(tmp_path / "ok"), *numbered(tmp_path / "ng"))
    with pytest.raises(DataError, match="ng, which speaks of anomalies"):
        open_images(f"{tmp_path}/{pattern}", "fit")
    assert len(open_images(f"{tmp_path}/{pattern}", "score")) == 6
    assert len(open_images(f"{tmp_path}/ng/*.png", "fit")) == 3, "who names them means them"


def test_a_shell_that_expands_the_pattern_changes_nothing(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "ok"), *numbered(tmp_path / "ng"))
    with pytest.raises(DataError, match="ng, which speaks of anomalies"):
        open_images([str(path) for path in sorted(tmp_path.glob("*/*.png"))], "fit")
    with pytest.raises(DataError, match=r"ng.*speaks of anomalies.*ok"):
        open_images([str(tmp_path / "ng"), str(tmp_path / "ok")], "fit")
    assert len(open_images([str(tmp_path / "ng"), str(tmp_path / "ok")])) == 6


# -- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["_mask.png", "-mask.bmp", "_GT.png", "_label.bmp", ".mask.png"])
def test_masks_beside_their_images(tmp_path: Path, ending: str) -> None:
    photo(*numbered(tmp_path, 5))
    mask(tmp_path / f"1{ending}", tmp_path / f"3{ending}")
    assert learnt(tmp_path) == ["0.png", "2.png", "4.png"]
    assert labels(tmp_path) == {f"{i}.png": i in (1, 3) for i in range(5)}
    assert list(labels(tmp_path, "score")) == [f"{i}.png" for i in range(5)]
    collection = open_images(tmp_path, "eval")
    assert collection[1].mask == tmp_path / f"1{ending}"
    assert any("masks" in note and "recognised" in note for note in collection.notes)


def test_an_empty_mask_is_of_a_normal_image(tmp_path: Path) -> None:
    """As in KolektorSDD, where every image has a mask; then one without is not known to be normal."""
    photo(*numbered(tmp_path, 5))
    mask(*(tmp_path / f"{i}_mask.png" for i in range(2)), marked=0)
    mask(*(tmp_path / f"{i}_mask.png" for i in range(2, 4)))
    assert learnt(tmp_path) == ["0.png", "1.png"]
    assert list(labels(tmp_path).values()) == [False, False, True, True, None]


def test_masks_that_hold_class_numbers_mark_too(tmp_path: Path) -> None:
    photo(*numbered(tmp_path, 3))
    mask(tmp_path / "1_mask.png", marked=2)
    assert learnt(tmp_path) == ["0.png", "2.png"]


@pytest.mark.parametrize("given", ["", "images"])
@pytest.mark.parametrize("folder", ["masks", "ground_truth"])
def test_images_beside_masks(tmp_path: Path, given: str, folder: str) -> None:
    photo(*numbered(tmp_path / "images", 4, "jpg"))
    mask(tmp_path / folder / "2.png")
    prefix = "" if given else "images/"
    assert learnt(tmp_path / given) == [f"{prefix}{i}.jpg" for i in (0, 1, 3)]
    assert labels(tmp_path / given) == {f"{prefix}{i}.jpg": i == 2 for i in range(4)}
    assert open_images(tmp_path / given, "eval")[2].mask == tmp_path / folder / "2.png"


def test_kinds_and_masks_of_the_same_tree(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "images" / "good"), *numbered(tmp_path / "images" / "dent"))
    mask(*numbered(tmp_path / "masks" / "dent"))
    assert learnt(tmp_path) == [f"images/good/{i}.png" for i in range(3)]
    assert [item.mask is not None for item in open_images(tmp_path, "eval")] == [True] * 3 + [False] * 3


def test_three_images_with_their_masks_in_another_format(tmp_path: Path) -> None:
    photo(*numbered(tmp_path, 3, "jpg"))
    mask(tmp_path / "0.png", tmp_path / "1.png", marked=0)
    mask(tmp_path / "2.png")
    assert learnt(tmp_path) == ["0.jpg", "1.jpg"]
    assert labels(tmp_path, "score") == {"0.jpg": False, "1.jpg": False, "2.jpg": True}


def test_pictures_of_one_name_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    photo(*numbered(tmp_path, 3, "jpg"), *numbered(tmp_path, 3, "png"))
    with pytest.raises(DataError, match=r"0\.jpg and 0\.png, and 3 such pairs.*\*\*/\*\.jpg"):
        open_images(tmp_path, "fit")
    scored = open_images(tmp_path, "score")
    assert len(scored) == 6
    assert any("not plain" in note for note in scored.notes)


def test_only_marked_images_cannot_be_learnt_from(tmp_path: Path) -> None:
    photo(*numbered(tmp_path))
    mask(*(tmp_path / f"{i}_mask.png" for i in range(3)))
    with pytest.raises(DataError, match="no image that its masks or annotations leave normal"):
        open_images(tmp_path, "fit")


def test_pictures_of_labels_and_masks_are_no_masks(tmp_path: Path) -> None:
    """A plant may make labels, or face masks."""
    photo(*numbered(tmp_path / "labels"), *numbered(tmp_path / "front"), *numbered(tmp_path / "masks"))
    photo(tmp_path / "front" / "box.png", tmp_path / "front" / "box_label.png")
    assert len(labels(tmp_path, "score")) == 11
    assert len(learnt(tmp_path)) == 11


def test_masks_among_files_given_one_by_one(tmp_path: Path) -> None:
    photo(*numbered(tmp_path))
    mask(tmp_path / "1_mask.png")
    for source in (f"{tmp_path}/*.png", [str(path) for path in sorted(tmp_path.glob("*.png"))]):
        collection = open_images(source)
        assert [item.name for item in collection] == [f"{tmp_path}/{i}.png" for i in range(3)]
        assert any("1 masks were recognised" in note for note in collection.notes)


# -- layouts of data sets --------------------------------------------------------------------------------------------


def test_mvtec_ad_2(tmp_path: Path) -> None:
    root = tmp_path / "can"
    photo(*(root / part / "good" / "0.png" for part in ("train", "validation", "test_public")))
    photo(root / "test_public" / "bad" / "0_shift_1.png", root / "test_private" / "0.png")
    mask(root / "test_public" / "ground_truth" / "bad" / "0_shift_1_mask.png")
    assert learnt(root) == ["train/good/0.png"]
    assert labels(root) == {"test_public/bad/0_shift_1.png": True, "test_public/good/0.png": False}
    assert open_images(root, "eval")[0].mask == root / "test_public/ground_truth/bad/0_shift_1_mask.png"


def test_visa(tmp_path: Path) -> None:
    data = tmp_path / "Data"
    photo(*(data / "Images" / kind / f"{i}.JPG" for kind in ("Normal", "Anomaly") for i in range(2)))
    mask(*(data / "Masks" / "Anomaly" / f"{i}.png" for i in range(2)), marked=1)
    assert learnt(tmp_path) == [f"Data/Images/Normal/{i}.JPG" for i in range(2)]
    items = open_images(tmp_path, "eval")
    assert [(item.anomalous, item.mask is not None) for item in items] == [(True, True)] * 2 + [(False, False)] * 2


def test_btad(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "ok" / "0.bmp", tmp_path / "test" / "ok" / "1.bmp", tmp_path / "test" / "ko" / "2.bmp")
    mask(tmp_path / "ground_truth" / "ko" / "2.png")
    assert learnt(tmp_path) == ["train/ok/0.bmp"]
    items = open_images(tmp_path, "eval")
    assert [(item.kind, item.mask is not None) for item in items] == [("ko", True), ("good", False)]


def test_dagm(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        photo(*(tmp_path / part / f"{i}.PNG" for i in range(4)))
        mask(tmp_path / part / "Label" / "2_label.PNG")
    assert learnt(tmp_path) == [f"Train/{i}.PNG" for i in (0, 1, 3)]
    assert labels(tmp_path) == {f"Test/{i}.PNG": i == 2 for i in range(4)}


def test_kolektor_2(tmp_path: Path) -> None:
    for part in ("train", "test"):
        photo(*(tmp_path / part / f"{i}.png" for i in range(3)))
        mask(*(tmp_path / part / f"{i}_GT.png" for i in range(2)), marked=0)
        mask(tmp_path / part / "2_GT.png")
    assert learnt(tmp_path) == ["train/0.png", "train/1.png"]
    assert list(labels(tmp_path).values()) == [False, False, True]


def test_masks_of_frames(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "Train" / "Train001", 4, "tif"), *numbered(tmp_path / "Test" / "Test001", 4, "tif"))
    mask(*numbered(tmp_path / "Test" / "Test001_gt", 4, "bmp"))
    assert len(learnt(tmp_path)) == 4
    assert len(labels(tmp_path, "score")) == 8


# -- annotations -----------------------------------------------------------------------------------------------------


def coco(names: dict[int, str], annotated: dict[int, str]) -> str:
    kinds = sorted(set(annotated.values()))
    return json.dumps(
        {
            "images": [{"id": number, "file_name": name} for number, name in names.items()],
            "categories": [{"id": number, "name": kind} for number, kind in enumerate(kinds)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": kinds.index(kind), "bbox": [0, 0, 1, 1]}
                for number, kind in annotated.items()
            ],
        }
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("annotations/instances_default.json", "{}.png"),
        ("images/_annotations.coco.json", "{}.png"),
        ("result.json", "images/{}.png"),
        ("result.json", "images\\{}.png"),
    ],
)
def test_coco(tmp_path: Path, file: str, name: str) -> None:
    photo(*numbered(tmp_path / "images"))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(coco({i: name.format(i) for i in range(3)}, {1: "crack"}))
    assert learnt(tmp_path) == ["images/0.png", "images/2.png"]
    assert labels(tmp_path) == {f"images/{i}.png": i == 1 for i in range(3)}
    collection = open_images(tmp_path, "eval")
    assert collection[1].kind == "crack"
    assert any(
        "of 3 images 2 count as normal, 1 as anomalous, by" in note and "COCO" in note for note in collection.notes
    )


def test_where_normal_images_are_annotated_others_are_unknown(tmp_path: Path) -> None:
    photo(*numbered(tmp_path))
    (tmp_path / "a.json").write_text(coco({i: f"{i}.png" for i in range(3)}, {0: "ok", 1: "crack"}))
    assert learnt(tmp_path) == ["0.png"]
    assert list(labels(tmp_path).values()) == [False, True, None]


def test_parts_with_annotations_of_their_own(tmp_path: Path) -> None:
    """As Roboflow exports them."""
    for part in ("train", "valid", "test"):
        photo(*numbered(tmp_path / part, 2, "jpg"))
        (tmp_path / part / "_annotations.coco.json").write_text(coco({i: f"{i}.jpg" for i in range(2)}, {1: "dent"}))
    assert learnt(tmp_path) == ["train/0.jpg"]
    assert labels(tmp_path) == {"test/0.jpg": False, "test/1.jpg": True}


def test_cvat(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "images"))
    (tmp_path / "annotations.xml").write_text(
        '<annotations><version>1.1</version><image id="0" name="0.png" width="16" height="12"/>'
        '<image id="1" name="1.png"><polygon label="crack" points="1,1;2,2;1,2"/></image>'
        '<image id="2" name="images/2.png"></image></annotations>'
    )
    assert learnt(tmp_path) == ["images/0.png", "images/2.png"]
    assert open_images(tmp_path, "eval")[1].kind == "crack"


def test_label_studio(tmp_path: Path) -> None:
    photo(*numbered(tmp_path, 4))
    value = {"rectanglelabels": ["crack"], "x": 1}
    results: list[list[dict[str, object]] | None] = [[], [{"value": value}], None, [{"value": {"choices": ["OK"]}}]]
    tasks = [
        {"data": {"image": f"/data/upload/1/0123abcd-{i}.png"}, "annotations": [{"result": r}] if r is not None else []}
        for i, r in enumerate(results)
    ]
    (tmp_path / "project-1.json").write_text(json.dumps(tasks[:3]))
    assert labels(tmp_path) == {"0.png": False, "1.png": True, "2.png": None, "3.png": None}
    assert learnt(tmp_path) == ["0.png"]
    (tmp_path / "project-1.json").write_text(
        json.dumps([{"image": "0.png", "choice": "OK"}, {"image": "1.png", "label": [value]}])
    )
    assert labels(tmp_path) == {"0.png": False, "1.png": True, "2.png": None, "3.png": None}


def test_yolo(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "images" / "train", 3, "jpg"))
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("crack\n")
    (tmp_path / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "labels" / "train" / "2.txt").write_text("")
    assert learnt(tmp_path) == ["images/train/0.jpg", "images/train/2.jpg"]


def test_voc_and_labelme(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "voc" / "JPEGImages", 2, "jpg"), *numbered(tmp_path / "me", 2))
    (tmp_path / "voc" / "Annotations").mkdir()
    for number, found in enumerate(("", "<object><name>crack</name></object>")):
        text = f"<annotation><filename>{number}.jpg</filename>{found}</annotation>"
        (tmp_path / "voc" / "Annotations" / f"{number}.xml").write_text(text)
        shapes = [{"label": "dent"}] * number
        (tmp_path / "me" / f"{number}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{number}.png"}))
    assert learnt(tmp_path / "voc") == ["JPEGImages/0.jpg"]
    assert learnt(tmp_path / "me") == ["0.png"]


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '{"pictures": 3, "a": []}', "null", "<a/>", "<a", "\xff"])
@pytest.mark.parametrize("name", ["a.json", "a.xml", "a.txt", "0.txt"])
def test_other_files_are_no_annotations(tmp_path: Path, name: str, text: str) -> None:
    photo(*numbered(tmp_path))
    if (name, text) == ("0.txt", ""):
        return  # which is YOLO's for an image without objects
    (tmp_path / name).write_text(text, "latin-1")
    assert len(learnt(tmp_path)) == 3
    assert {item.anomalous for item in open_images(tmp_path, "fit")} == {None}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"id": 1, "ima'),
        ("a.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}'),
        ("a.xml", '<annotations><image name="1.png"><box label="crack"/>'),
        ("a.json", '{"images": ' + "[" * 100_000),
    ],
)
def test_broken_annotations_are_no_reason_to_learn_from_all(tmp_path: Path, name: str, text: str) -> None:
    photo(*numbered(tmp_path))
    (tmp_path / name).write_text(text)
    for purpose in ("fit", "eval"):
        with pytest.raises(DataError, match="looks like annotations, and cannot be read"):
            open_images(tmp_path, purpose)  # type: ignore[arg-type]
    scored = open_images(tmp_path)
    assert len(scored) == 3
    assert any("looks like annotations" in note for note in scored.notes)


def test_who_names_a_folder_of_anomalies_means_it(tmp_path: Path) -> None:
    photo(*numbered(tmp_path / "ng"))
    (note,) = open_images(tmp_path / "ng", "fit").notes
    assert "learnt from as normal, because it was named" in note


# -- names alone -----------------------------------------------------------------------------------------------------

NAMES = st.lists(
    st.builds(
        lambda folders, file: "/".join([*folders, file]),
        st.lists(st.sampled_from(["train", "test", "good", "ng", "a", "masks", "images", "ground_truth"]), max_size=3),
        st.sampled_from(["0.png", "1.jpg", "1.png", "0_mask.png", "1_gt.png"]),
    ),
    unique=True,
    max_size=12,
)


@settings(deadline=None)
@given(NAMES, st.booleans())
def test_masks_and_images_are_kept_apart(names: list[str], like_masks: bool) -> None:
    found = find_masks(names, lambda name: like_masks)
    assert found.names <= set(names)
    assert set(found.of) <= set(names) - found.names
    assert set(found.of.values()) <= found.names
    images = [name for name in names if name not in found.names]
    layout = recognise(images)
    for name in images:
        part, kind = layout.place(name)
        assert part is None or set(layout.parts) & set(name.split("/")[:-1])
        if kind is not None and not layout.several:
            assert kind in name.split("/")[:-1]
    for folder in layout.normal:
        assert any(name.startswith(f"{folder}/") for name in images)
    for folder in anomalous_folders(images):
        assert folder.endswith("ng")
