"""What the names of folders and files tell: which pictures are masks, where the sets lie, which folders are normal.

Functions of names alone, relative to one folder and with `/`. The layouts that people use are all made of a few parts:
normal folders (`good`, `OK`) beside others; `train` beside `test`; masks in a folder of their own (`ground_truth`,
`masks`), or beside their images (`7_mask.png`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .labels import is_normal_name, sounds_anomalous

Part = Literal["train", "validation", "test", "unlabelled"]

#: Folders that divide a set, in lower case. The last two are MVTec AD 2's, whose labels are not published.
PARTS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing", "test_public"), "test"),
    **dict.fromkeys(("test_private", "test_private_mixed"), "unlabelled"),
}
#: Folders that hold the images where masks lie beside it; they tell nothing else.
IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "jpegimages"})
#: Folders of masks. What lies in the second sort may be masks, or pictures of labels.
_MASK_FOLDERS = frozenset({"ground_truth", "groundtruth", "mask", "masks", "segmentationclass", "segmentationobject"})
_PERHAPS_MASK_FOLDERS = frozenset({"gt", "label", "labels", "annotation", "annotations", "segmentation"})
#: Endings of a mask's name (or of the folder of a video's masks), before that of the file.
_MASK_ENDING = re.compile(r"[_.-](masks?|ground_?truth|(?P<perhaps>gt|labels?|seg))$", re.IGNORECASE)
_SURELY = ("ground_truth", "groundtruth")
#: So many pictures tell whether those of one sort are masks.
_LOOKED_AT = 8
_LOSSY, _LOSSLESS = (".jpg", ".jpeg"), (".png", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Masks:
    """Which pictures are masks.

    Attributes:
        of: the mask of each image that has one.
        names: all masks, those whose image is missing among them.
        doubtful: pictures with one name but for the ending, `a.jpg` and `a.png`, of which it is not plain whether the
            second is the mask of the first.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    doubtful: tuple[tuple[str, str], ...] = ()


def find_masks(names: Sequence[str], looks_like_mask: Callable[[str], bool]) -> Masks:
    """The masks among pictures: `7_mask.png` beside `7.png`, `masks/7.png` beside `images/7.jpg` or `7.jpg`,
    `ground_truth/crack/7.png` of `test/crack/7.png`, `7.png` beside `7.jpg`.

    Args:
        names: of the pictures.
        looks_like_mask: says of one of them whether it has the few grey levels of a mask. It is asked of some, and only
            where names leave a doubt.

    >>> found = find_masks(["7.png", "7_mask.png", "8.png"], lambda name: True)
    >>> found.of, sorted(found.names)
    ({'7.png': '7_mask.png'}, ['7_mask.png'])
    """
    by_place: dict[str, list[str]] = {}
    suspects: list[tuple[str, str | None]] = []
    for name in names:
        folder = _mask_folder(name)
        if folder is None and _ending_of_mask(name) is None:
            by_place.setdefault(_stem(name), []).append(name)
        else:
            suspects.append((name, folder))
    sorts: dict[_Sort, list[tuple[str, list[str]]]] = {}
    without_parts: dict[str, list[str]] = {}
    for stem, there in by_place.items():
        for key in {_without_images(stem), _without_part(_without_images(stem))}:
            without_parts.setdefault(key, []).extend(there)
    for name, folder in suspects:
        images = _images_of(name, folder, by_place, without_parts)
        sort = _Sort("plain" if _is_plain(name, folder) else "perhaps", folder or "")
        sorts.setdefault(sort, []).append((name, images))
    for stem, there in by_place.items():
        lossy = [name for name in there if name.lower().endswith(_LOSSY)]
        other = [name for name in there if name.lower().endswith(_LOSSLESS)]
        if len(lossy) == len(other) == 1:
            sorts.setdefault(_Sort("twins", posixpath.dirname(stem)), []).append((other[0], lossy))
    of: dict[str, str] = {}
    masks: set[str] = set()
    doubtful: list[tuple[str, str]] = []
    for sort, pairs in sorts.items():
        matched = [(mask, images) for mask, images in pairs if images]
        if not _are_masks(sort, pairs, matched, looks_like_mask):
            doubtful += [(images[0], mask) for mask, images in matched] if sort.how == "twins" else []
            continue
        masks.update(mask for mask, _ in pairs)
        of.update({image: mask for mask, images in matched for image in images})
    return Masks({image: mask for image, mask in of.items() if image not in masks}, frozenset(masks), tuple(doubtful))


class _Sort(NamedTuple):
    """Pictures that are masks, or not, together: by a plain name, by one that may mean something else, or as the other
    of two that have one name; and in which folder of masks, or beside the images.
    """

    how: Literal["plain", "perhaps", "twins"]
    where: str


def _are_masks(
    sort: _Sort,
    pairs: Sequence[tuple[str, list[str]]],
    matched: Sequence[tuple[str, list[str]]],
    looks_like_mask: Callable[[str], bool],
) -> bool:
    """Whether the pictures of one sort, and the images that they would belong to, are masks and images."""
    looked_at = [mask for mask, _ in pairs[:: max(1, len(pairs) // _LOOKED_AT)][:_LOOKED_AT]]
    if sort.how == "plain":
        return bool(matched) or sort.where.casefold() in _SURELY or all(map(looks_like_mask, looked_at))
    if 2 * len(matched) <= len(pairs):
        return False  # they do not belong to images
    some = matched[:: max(1, len(matched) // _LOOKED_AT)][:_LOOKED_AT]
    if not all(looks_like_mask(mask) for mask, _ in some):
        return False
    return sort.how != "twins" or not all(looks_like_mask(images[0]) for _, images in some)


def _is_plain(name: str, folder: str | None) -> bool:
    if folder is not None:
        return folder.casefold() in _MASK_FOLDERS
    ending = _ending_of_mask(name)
    return ending is not None and ending["perhaps"] is None


def _ending_of_mask(name: str) -> re.Match[str] | None:
    return _MASK_ENDING.search(posixpath.basename(_stem(name)))


def _mask_folder(name: str) -> str | None:
    """The first folder of a name that is one of masks, by its name or its ending."""
    for folder in name.split("/")[:-1]:
        if folder.casefold() in _MASK_FOLDERS | _PERHAPS_MASK_FOLDERS or _MASK_ENDING.search(folder):
            return folder
    return None


def _images_of(
    mask: str, folder: str | None, by_place: Mapping[str, list[str]], without_parts: Mapping[str, list[str]]
) -> list[str]:
    """The images that a mask belongs to: of its own folder, or of the same place beside the folder of masks."""
    stem = _stem(mask)
    short = _MASK_ENDING.sub("", stem)
    if folder is None:
        return by_place.get(short, [])
    for candidate in dict.fromkeys((short, stem)):
        parts = candidate.split("/")
        place = next(i for i, part in enumerate(parts) if part == folder)
        parts[place : place + 1] = [rest] if (rest := _MASK_ENDING.sub("", folder)) != folder else []
        key = _without_images("/".join(parts))
        if key in without_parts:
            return without_parts[key]
    return []


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _without_images(path: str) -> str:
    *folders, last = path.split("/")
    return "/".join([*(folder for folder in folders if folder.casefold() not in IMAGE_FOLDERS), last])


def _without_part(path: str) -> str:
    """Without the folder that says which part of the set it is, unless it trains: only anomalies have masks apart."""
    *folders, last = path.split("/")
    return "/".join(
        [*(folder for folder in folders if PARTS.get(folder.casefold()) not in ("test", "validation")), last]
    )


# -- sets, parts and normal folders ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where the images of a folder lie.

    Attributes:
        bases: the folders, below the one that was given, whose folders are parts or kinds; "" is that one itself.
        parts: which folders of the only base are parts of the set.
        normal: the normal folders, as paths from the one that was given.
        several: do the bases hold several sets, each with parts of its own? Then nothing else is told.
    """

    bases: tuple[str, ...] = ("",)
    parts: Mapping[str, Part] = field(default_factory=dict)
    normal: tuple[str, ...] = ()
    several: bool = False

    def place(self, name: str) -> tuple[Part | None, str | None]:
        """The part of the set that an image is in, and its kind: the folder below."""
        base = next((base for base in self.bases if _lies_in(name, base)), None)
        if base is None:
            return None, None
        part, below = None, _below(name, base)
        if self.parts:
            first, _, below = below.partition("/")
            part = self.parts.get(first)
        kind, slash, _ = below.partition("/")
        return part, kind if slash else None

    def starts(self, part: Part) -> list[str]:
        """The folders of a part, as paths from the one that was given."""
        return [posixpath.join(self.bases[0], name) for name in self.parts if self.parts[name] == part]


def recognise(names: Iterable[str], by_folders: bool = True) -> Layout:
    """The layout of the images of a folder, masks not among them.

    Args:
        names: of the images.
        by_folders: do the names of folders tell what is normal, or does a table?

    >>> layout = recognise(["bottle/train/good/0.png", "bottle/test/crack/0.png"])
    >>> layout.bases, layout.parts, layout.normal, layout.place("bottle/test/crack/0.png")
    (('bottle',), {'test': 'test', 'train': 'train'}, ('bottle/train/good',), ('test', 'crack'))
    """
    folders = sorted({name.rpartition("/")[0] for name in names})
    roots = sorted(set(_roots(folders, by_folders)))
    bases = tuple(root for root in roots if not any(_lies_in(root, other) for other in roots if other != root))
    divided = [found for base in bases if (found := _parts(folders, base, by_folders))]
    if len(bases) > 1 and divided:
        return Layout(bases, several=True)
    parts = divided[0] if divided else {}
    layout = Layout(bases or ("",), parts)
    if not by_folders:
        return layout
    normal = {
        _folder_of_kind(name, kind)
        for name in (f"{folder}/" for folder in folders)
        if is_normal_name(kind := layout.place(name)[1] or "")
    }
    return Layout(layout.bases, parts, tuple(sorted(normal)))


def _folder_of_kind(folder: str, kind: str) -> str:
    """The path that ends with the first folder of this name."""
    names = folder.split("/")
    return "/".join(names[: names.index(kind) + 1])


def _parts(folders: Sequence[str], base: str, by_folders: bool) -> dict[str, Part]:
    """Folders of a base that divide it; none where a normal folder stands beside what only has the name of a part."""
    names = sorted({_below(folder, base).partition("/")[0] for folder in folders if _lies_in(folder, base)} - {""})
    if by_folders and any(map(is_normal_name, names)):
        return {}
    return {name: PARTS[name.casefold()] for name in names if name.casefold() in PARTS}


def _roots(folders: Iterable[str], by_folders: bool) -> Iterator[str]:
    """Folders that hold a normal one, alone or in a part, or a part to train beside another."""
    parts: dict[str, set[Part]] = {}
    for folder in folders:
        names = folder.split("/")
        for depth, name in enumerate(names):
            root, part = "/".join(names[:depth]), PARTS.get(name.casefold())
            if part is not None:
                parts.setdefault(root, set()).add(part)
            if by_folders and is_normal_name(name):
                above = names[:depth]
                yield "/".join(above[:-1] if above and above[-1].casefold() in PARTS else above)
                break
    for root, found in parts.items():
        if "train" in found and len(found) > 1:
            yield root


def _lies_in(folder: str, base: str) -> bool:
    return not base or folder == base or folder.startswith(f"{base}/")


def _below(folder: str, base: str) -> str:
    return folder[len(base) :].lstrip("/") if base else folder


def anomalous_folders(names: Iterable[str]) -> list[str]:
    """The outermost folders whose names speak of anomalies: `NG`, `parts/scratched`.

    >>> anomalous_folders(["monday/0.png", "line 1/NG/0.png", "line 1/NG/small crack/1.png"])
    ['line 1/NG']
    """
    found = set()
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        place = next((i for i, part in enumerate(parts) if sounds_anomalous(part)), None)
        if place is not None:
            found.add("/".join(parts[: place + 1]))
    return sorted(found)
