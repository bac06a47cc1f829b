"""One door for all images: whatever a user may name them by becomes a `Collection`."""

# os.path says False where Path raises: a specification need not be a possible path.
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH118, PTH119

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amiss.data.arrays import ARRAY_ENDINGS, array_collection, is_array_name, load_array_file, picture_collection
from amiss.data.boxes import boxes_collection
from amiss.data.collection import Collection
from amiss.data.decode import SUFFIXES, is_image_name
from amiss.data.folder import Purpose, file_collection, folder_collection, glob_collection
from amiss.data.known import known_sets, open_known
from amiss.data.labels import NORMAL_KIND, is_normal_name, sounds_anomalous
from amiss.data.pages import with_pages
from amiss.data.video import VIDEO_ENDINGS, is_video_name, video_collection
from amiss.errors import DataError, UsageError

#: One source given by name: a path, a glob, or a known set such as `mnist:test:normal=3`.
Name = str | os.PathLike[str]
#: Images in memory: an array, (n, h, w[, c]) alone or (h, w[, c]) in a list, or a picture of Pillow's.
Picture = NDArray[Any] | Image.Image
#: What `fit` and `score` take: a path, glob or known set, several of them, an array (n, h, w[, c]), a list of arrays
#: (h, w[, c]) or of Pillow's pictures, or a collection.
Images = Name | Sequence[Name] | Picture | Sequence[Picture] | Collection


def open_images(source: Images, purpose: Purpose = "score") -> Collection:
    """Open images; nothing is decoded before an item is read.

    Args:
        source: one of

            - a path: a folder, an image file, or an array file (`.npy`, `.npz`, IDX); of a file with several pages or
              frames, each is an image (see `amiss.data.pages`);
            - a pattern such as `parts/**/*.png`;
            - crops of a folder's images, `FOLDER:boxes=FILE.csv[:crop=oversize]` (see
              `amiss.data.boxes.boxes_collection`); FILE is looked for as it is named, then below the folder;
            - a known set, `NAME:SPLIT[:key=value]...` (see `amiss.data.known.open_known`);
            - an array, (n, h, w) or (n, h, w, c);
            - a picture of Pillow's, or a list of such and of arrays (h, w) or (h, w, c), of any sizes;
            - a collection, which is returned as it is;
            - several of the first four, which are put one after the other.

            A path that exists is taken for a path, whatever it looks like.
        purpose: `fit`, `score` or `eval`; it decides which part of a folder is taken, see
            `amiss.data.folder.folder_collection`.

    Raises:
        UsageError: the source names nothing that exists.
        DataError: it exists and cannot be opened.
    """
    if isinstance(source, Collection):
        return source
    if isinstance(source, np.ndarray):
        return array_collection(source, "array")
    if isinstance(source, Image.Image):
        return picture_collection([source], "image")
    if isinstance(source, (str, os.PathLike)):
        return with_pages(_open_one(os.fspath(source), purpose))
    if isinstance(source, Sequence):
        names = [os.fspath(part) for part in source if isinstance(part, (str, os.PathLike))]
        if len(names) == len(source):
            return with_pages(_open_several(names, purpose))
        pictures = [part for part in source if isinstance(part, (np.ndarray, Image.Image))]
        if len(pictures) == len(source):
            return picture_collection(pictures, "images")
    raise UsageError(
        f"images cannot be opened from {type(source).__name__}; "
        "give a path, a pattern, a known set, an array, a Collection, a list of names, or one of arrays and pictures"
    )


def in_memory(source: Images) -> bool:
    """Whether the images are arrays or pictures in memory: something wrong with one is then a mistake of the program
    that made it, and no file to be left out.
    """
    first = source[0] if isinstance(source, list | tuple) and source else source
    return isinstance(first, np.ndarray | Image.Image)


def good_and_bad(good: Sequence[Name], bad: Sequence[Name]) -> Collection:
    """Images labelled by what they were given as, whatever folders are called.

    Args:
        good: normal images. Of a folder that holds labelled anomalies too, only the normal ones are taken.
        bad: anomalies; their kind is that of their folder. What lies in normal folders is left out.

    Raises:
        UsageError: nothing of one of them is given.
        DataError: nothing is left of one of them.
    """
    if not good or not bad:
        raise UsageError("evaluation needs both normal images and anomalies; give --good and --bad")
    normal = open_images(list(good), "fit").normal
    anomalies = [open_images(source) for source in bad]
    items = [replace(item, anomalous=False, kind=NORMAL_KIND, mask=None) for item in normal]
    notes = list(normal.notes)
    for source, collection in zip(bad, anomalies, strict=True):
        own = os.path.basename(os.path.normpath(source)) or None
        kept = collection.where(lambda item: item.anomalous is not False)
        items += [replace(item, anomalous=True, kind=item.kind or own) for item in kept]
        notes += collection.notes
        if len(kept) < len(collection):
            notes.append(f"{len(collection) - len(kept)} images of {source} are normal, and were left out")
        if not kept:
            raise DataError(f"{source} holds no anomaly; give the folder of the anomalies with --bad")
    return Collection(items, f"{normal.title} against {_titles(anomalies)}", tuple(dict.fromkeys(notes)))


def _open_one(source: str, purpose: Purpose) -> Collection:
    if os.path.isdir(source):
        return folder_collection(source, purpose)
    if os.path.exists(source):
        return _open_file(source)
    folder, boxes, _ = source.partition(":boxes=")
    if boxes and (os.path.isdir(folder) or folder.partition(":")[0] not in known_sets()):
        return _open_boxes(source, purpose)
    if any(sign in source for sign in "*?["):
        return glob_collection(source, purpose)
    name, colon, _ = source.partition(":")
    if name in known_sets():
        return open_known(source)
    near = difflib.get_close_matches(name, known_sets(), n=1)
    hint = f"did you mean {near[0]}{source[len(name) :] if colon else ':SPLIT'}?" if near else "check the name"
    raise UsageError(
        f"{source!r} is neither a file or folder, nor a pattern with *, ? or [, "
        f"nor one of the known sets {', '.join(known_sets())}; {hint}"
    )


def _open_boxes(spec: str, purpose: Purpose) -> Collection:
    """Open `FOLDER:boxes=FILE[:crop=...]`; other colons belong to the paths, but for one before `key=` after FILE."""
    folder, _, rest = spec.partition(":boxes=")
    table, *settings = re.split(r":(?=\w+=)", rest)
    if settings and not (len(settings) == 1 and settings[0].startswith("crop=")):
        raise UsageError(f"{spec}: boxes=FILE can be followed by one key only, crop, not by {':'.join(settings)}")
    crop = settings[0].removeprefix("crop=") if settings else "plain"
    if not os.path.isdir(folder):
        raise UsageError(f"{spec}: there is no folder {folder!r}; write FOLDER:boxes=FILE.csv")
    places = (table, os.path.join(folder, table))
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        raise UsageError(f"{spec}: there is no file {' or '.join(places)}; check the name of the table")
    return boxes_collection(folder, found, purpose, crop)


def _open_file(name: str) -> Collection:
    if is_array_name(name):
        return load_array_file(name)
    if is_image_name(name):
        return file_collection([name])
    if is_video_name(name):
        return video_collection(name)
    endings = ", ".join((*SUFFIXES, *VIDEO_ENDINGS, *ARRAY_ENDINGS))
    raise DataError(f"{name} is neither an image, a video nor an array file; its name must end in one of {endings}")


def _open_several(sources: Sequence[str], purpose: Purpose) -> Collection:
    if not sources:
        raise UsageError("the list of images is empty; give at least one path, pattern or known set")
    if len(sources) == 1:
        return _open_one(sources[0], purpose)
    if purpose == "fit":
        _check_sides(sources)
    parts = []
    for files, group in itertools.groupby(sources, lambda source: is_image_name(source) and os.path.isfile(source)):
        several = list(group)
        # a pattern that the shell has expanded: masks and anomalies are told by the company they keep
        parts += [file_collection(several, purpose)] if files else [_open_one(source, purpose) for source in several]
    items = [item for part in parts for item in part]
    return Collection(items, _titles(parts), _told_once(parts))


def _titles(parts: Sequence[Collection]) -> str:
    return " + ".join(part.title for part in parts) if len(parts) <= 3 else f"{len(parts)} sources"


def _check_sides(sources: Sequence[str]) -> None:
    """Raise `DataError` where folders to learn from are called both what normal ones and what anomalies are called."""
    folders = {source: os.path.basename(os.path.abspath(source)) for source in sources if os.path.isdir(source)}
    bad = [source for source, name in folders.items() if sounds_anomalous(name)]
    good = [source for source, name in folders.items() if is_normal_name(name)]
    if bad and good:
        raise DataError(
            f"{bad[0]} is given to learn from, and speaks of anomalies, beside {good[0]}; give the normal ones alone"
        )


def _told_once(parts: Sequence[Collection]) -> tuple[str, ...]:
    """The notes of the parts, each sort of them once: those that differ in names and numbers alone are counted."""
    sorts: dict[str, list[str]] = {}
    for part in parts:
        for note in part.notes:
            same = re.sub(rf"\b{re.escape(part.title)}\b", "", note)
            sorts.setdefault(re.sub(r"\S*[/\\\d]\S*", "", same), []).append(note)
    return tuple(
        first + (f" (and {count} more notes like this one)" if count else "")
        for first, *others in sorts.values()
        for count in [len(set(others) - {first})]
    )
