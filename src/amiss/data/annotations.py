"""Labels from the files of annotation tools: COCO, CVAT, Label Studio, labelme, Pascal VOC and YOLO.

An image whose annotations name a defect is anomalous. Only which images are annotated, and with what, is read; where on
the image is not.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # its parser refuses entities that grow beyond measure (expat 2.4.1)

from ..errors import DataError
from .labels import is_normal_name

#: A file as the annotations name it, and the kinds that they give it; none where it was looked at and has nothing.
Listed = Iterator[tuple[str, set[str]]]

#: The name that Label Studio gives an uploaded file: eight digits before its own.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_HEAD = 4096  # characters that tell what a broken file was
_BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ElementTree.ParseError)
_LARGEST = 1 << 28  # bytes of a file of annotations


@dataclass(frozen=True)
class Annotations:
    """What annotations say of images.

    Attributes:
        kinds: of each image that they list, what it is annotated with.
        source: where they stand, in words.
    """

    kinds: Mapping[str, frozenset[str]]
    source: str

    def label(self, image: str) -> tuple[bool | None, str | None]:
        """Whether an image is anomalous, and its kind of defect; None where it is not listed.

        An image without annotations is normal, unless normal images are annotated as such.
        """
        found = self.kinds.get(image)
        if found is None or (not found and self.normal_is_annotated):
            return None, None
        defects = sorted(kind for kind in found if not is_normal_name(kind))
        return bool(defects), defects[0] if defects else None

    @property
    def normal_is_annotated(self) -> bool:
        """Is there an annotation that says `good`, `ok` or the like?"""
        return any(is_normal_name(kind) for kinds in self.kinds.values() for kind in kinds)


def read_annotations(root: str, files: Sequence[str], images: Sequence[str]) -> Annotations | None:
    """Annotations of some images of a folder; None where there are none.

    Args:
        root: the folder.
        files: names of files in it that are no images, relative to it.
        images: names of its images.

    Raises:
        DataError: a file that looks like annotations, and is broken.
    """
    find = _finder(images)
    kinds: dict[str, set[str]] = {}
    sources: dict[str, str] = {}
    for file in files:
        for tool, named, found in _read(Path(root, file)):
            image = find(posixpath.dirname(file), named)
            if image is not None:
                kinds.setdefault(image, set()).update(found)
                sources.setdefault(file, tool)
    if not kinds:
        return None
    if "YOLO" in sources.values():  # whose images without any object have no file
        beside = {posixpath.dirname(image) for image in kinds}
        kinds |= {image: set() for image in images if image not in kinds and posixpath.dirname(image) in beside}
    first, tool = next(iter(sources.items()))
    source = f"{first} ({tool})" if len(sources) == 1 else f"{len(sources)} files such as {first} ({tool})"
    return Annotations({image: frozenset(found) for image, found in kinds.items()}, source)


def _read(path: Path) -> list[tuple[str, str, set[str]]]:
    """The tool, the file that is named, and its kinds, of all that a file annotates; nothing where it is another."""
    if path.suffix.lower() not in _READERS:
        return []
    reader, head = _READERS[path.suffix.lower()]
    text = ""
    try:
        if path.stat().st_size > _LARGEST:
            return []
        text = path.read_text(encoding="utf-8-sig")
        return [(tool, named, found) for tool, rows in reader(path, text) for named, found in rows]
    except _BROKEN as error:
        if head is not None and re.search(head, text[:_HEAD]):
            raise DataError(
                f"{path} looks like annotations, and cannot be read ({error}); export it again or remove it"
            ) from error
        return []


def _finder(images: Sequence[str]) -> Callable[[str, str], str | None]:
    """From the folder of the annotations and the file that they name to the image that is meant, if only one can be."""
    known = set(images)
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for image in images:
        by_name.setdefault(posixpath.basename(image), []).append(image)
        by_stem.setdefault(posixpath.splitext(image)[0], []).append(image)

    def find(folder: str, named: str) -> str | None:
        named = named.replace("\\", "/").partition("?")[0]
        path = posixpath.normpath(posixpath.join(folder, named))
        if path in known:
            return path
        last = posixpath.basename(named)
        if not posixpath.splitext(last)[1]:  # YOLO names no ending; its labels/ lie beside images/
            for place in (path, re.sub(r"(^|/)labels/", r"\1images/", path)):
                if len(by_stem.get(place, [])) == 1:
                    return by_stem[place][0]
        for name in (last, _UPLOADED.sub("", last)):
            if len(by_name.get(name, [])) == 1:
                return by_name[name][0]
        return None

    return find


def _json(path: Path, text: str) -> Iterator[tuple[str, Listed]]:
    content = json.loads(text)
    if isinstance(content, list):
        yield "Label Studio", _label_studio(content)
    elif "images" in content and "categories" in content:
        yield "COCO", _coco(content)
    elif "shapes" in content and "imagePath" in content:
        yield "labelme", iter([(content["imagePath"], {shape["label"] for shape in content["shapes"]})])


def _coco(content: Mapping[str, Any]) -> Listed:
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    kinds: dict[Any, set[str]] = {}
    for annotation in content.get("annotations", []):
        kinds.setdefault(annotation["image_id"], set()).add(names.get(annotation["category_id"], "defect"))
    for image in content["images"]:
        yield str(image["file_name"]), kinds.get(image["id"], set())


def _label_studio(tasks: Iterable[Mapping[str, Any]]) -> Listed:
    for task in tasks:
        data = task.get("data", task)
        file = next((str(data[key]) for key in ("image", "img", "url") if key in data), None)
        if file is None:
            raise ValueError("no task of images")
        if "data" in task:
            done = [each for each in task.get("annotations", []) if not each.get("was_cancelled")]
            if done:
                yield file, {kind for each in done for result in each["result"] for kind in _names(result["value"])}
        else:  # the short form: the image, and beside it what each control says
            said = [value for key, value in task.items() if key in ("choice", "label", "tag")]
            if said:
                yield file, {kind for value in said for kind in _short_names(value)}


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    for key, names in value.items():
        if (key.endswith("labels") or key == "choices") and isinstance(names, list):
            yield from map(str, names)


def _short_names(value: Any) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        yield from (str(each),) if isinstance(each, str) else _names(each)


def _xml(path: Path, text: str) -> Iterator[tuple[str, Listed]]:
    tree = ElementTree.fromstring(text)
    if tree.tag == "annotations":
        yield "CVAT", ((image.attrib["name"], _labels(image)) for image in tree.iter("image"))
    elif tree.tag == "annotation" and tree.findtext("filename"):
        found = {name for each in tree.iter("object") if (name := each.findtext("name"))}
        yield "Pascal VOC", iter([(tree.findtext("filename") or "", found)])


def _labels(image: ElementTree.Element) -> set[str]:
    return {shape.attrib["label"] for shape in image if "label" in shape.attrib}


def _txt(path: Path, text: str) -> Iterator[tuple[str, Listed]]:
    """YOLO's: a line an object, the number of its class and where it is; the file is named as its image."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not all(len(line) >= 5 and line[0].isdecimal() for line in lines):
        return
    for line in lines:
        list(map(float, line))  # raises where it is another kind of text
    yield "YOLO", iter([(path.stem, {f"class {line[0]}" for line in lines})])


#: By the ending: what reads the file, and what stands at the head of annotations, so that a broken file is not taken
#: for something else.
_READERS: Mapping[str, tuple[Callable[[Path, str], Iterator[tuple[str, Listed]]], str | None]] = {
    ".json": (_json, r'"(images|annotations|categories|shapes)"'),
    ".xml": (_xml, r"<annotations?[ >]"),
    ".txt": (_txt, None),
}
