"""One door for all images: whatever a user may name them by becomes a `Collection`."""

# os.path says False where Path raises: a specification need not be a possible path.
# ruff: noqa: PTH110, PTH112, PTH113, PTH118

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amiss.data.arrays import ARRAY_ENDINGS, array_collection, is_array_name, load_array_file
from amiss.data.boxes import boxes_collection
from amiss.data.collection import Collection
from amiss.data.decode import SUFFIXES, is_image_name
from amiss.data.folder import Purpose, file_collection, folder_collection, glob_collection
from amiss.data.known import known_sets, open_known
from amiss.data.video import VIDEO_ENDINGS, is_video_name, video_collection
from amiss.errors import DataError, UsageError

#: One source given by name: a path, a glob, or a known set such as `mnist:test:normal=3`.
Name = str | os.PathLike[str]
#: What `fit` and `score` take: a path, glob or known set, several of them, an array (n, h, w[, c]), or a collection.
Images = Name | Sequence[Name] | NDArray[Any] | Collection


def open_images(source: Images, purpose: Purpose = "score") -> Collection:
    """Open images; nothing is decoded before an item is read.

    Args:
        source: one of

            - a path: a folder, an image file, or an array file (`.npy`, `.npz`, IDX);
            - a pattern such as `parts/**/*.png`;
            - crops of a folder's images, `FOLDER:boxes=FILE.csv[:crop=oversize]` (see
              `amiss.data.boxes.boxes_collection`); FILE is looked for as it is named, then below the folder;
            - a known set, `NAME:SPLIT[:key=value]...` (see `amiss.data.known.open_known`);
            - an array, (n, h, w) or (n, h, w, c);
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
    if isinstance(source, (str, os.PathLike)):
        return _open_one(os.fspath(source), purpose)
    if isinstance(source, Sequence):
        names = [os.fspath(part) for part in source if isinstance(part, (str, os.PathLike))]
        if len(names) == len(source):
            return _open_several(names, purpose)
    raise UsageError(
        f"images cannot be opened from {type(source).__name__}; "
        "give a path, a pattern, a known set, an array, a Collection, or a list of names"
    )


def _open_one(source: str, purpose: Purpose) -> Collection:
    if os.path.isdir(source):
        return folder_collection(source, purpose)
    if os.path.exists(source):
        return _open_file(source)
    folder, boxes, _ = source.partition(":boxes=")
    if boxes and (os.path.isdir(folder) or folder.partition(":")[0] not in known_sets()):
        return _open_boxes(source, purpose)
    if any(sign in source for sign in "*?["):
        return glob_collection(source)
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
    parts = [_open_one(source, purpose) for source in sources]
    if len(parts) == 1:
        return parts[0]
    items = [item for part in parts for item in part]
    title = " + ".join(part.title for part in parts) if len(parts) <= 3 else f"{len(parts)} sources"
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return Collection(items, title, tuple(notes))
