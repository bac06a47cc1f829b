"""Images in folders, with the labels, masks and groups that the layout of the folder gives."""

# os.path and strings throughout: a Path for each of 50,000 images costs seconds and memory.
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH118, PTH119, PTH120, PTH122, PTH207, PTH208

from __future__ import annotations

import glob
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from amiss.data.collection import Collection, Item, LazyItems
from amiss.data.decode import SUFFIXES, is_image_name, read_image
from amiss.data.labels import (
    NORMAL_FOLDERS,
    NORMAL_KIND,
    GroupRow,
    read_events,
    read_groups,
    rows_by_stem,
    with_events,
)
from amiss.data.video import is_video_name, with_frames
from amiss.errors import DataError, UsageError

#: What images are opened for: it decides which part of a folder is taken, see `folder_collection`.
Purpose = Literal["fit", "score", "eval"]

_LAYOUT = "make one subfolder per kind, the normal images in 'good': FOLDER/good/*.png, FOLDER/crack/*.png"
_VIDEO_LAYOUT = (
    "write an events.csv (video,start,end), or put the normal ones in 'good' and the others in folders beside it"
)


def folder_collection(path: str | os.PathLike[str], purpose: Purpose) -> Collection:
    """The images below a folder in natural order (`2.png` before `10.png`).

    Hidden files are skipped, and so are masks (`ground_truth` beside `test`). A folder with `train/` and `test/` is an
    MVTec root. Where `groups.csv` stands in the folder, its groups and kinds are used; an image that it does not list,
    and that has the name of a listed one but for the ending, is taken for a mask and left out with a note; but where
    the listed one is gone, it is taken for that one, saved in another format. Where
    `events.csv` stands in it, that alone labels its frames, see `amiss.data.labels.with_events`.

    Args:
        path: the folder; items are named by it and their path below it.
        purpose: what the images are for.

            - `fit`: the normal images: of an MVTec root `train/good`; else the direct subfolders called good, normal
              or free; else every image.
            - `eval`: labelled images only: of an MVTec root `test/`. The first subfolder is the kind; good, normal and
              free are normal (kind `good`), all others anomalous. Masks are taken from
              `ground_truth/KIND/STEM_mask.png` beside the folder.
            - `score`: every image, with a label where there is one.

    Raises:
        DataError: the folder is missing, is a file, holds no images, has a malformed `groups.csv` or `events.csv`,
            or, for `eval`, has nothing labelled.
        UsageError: another purpose.
    """
    if purpose not in ("fit", "score", "eval"):
        raise UsageError(f"purpose is {purpose!r}; it must be 'fit', 'score' or 'eval'")
    root = _existing_folder(path)
    events = os.path.join(root, "events.csv")
    stretches = read_events(events) if os.path.isfile(events) else None
    layout = _Layout(root, by_folders=stretches is None)
    starts, notes = layout.starts(purpose)
    names, rows, left_out = _listed(root, starts)
    notes += left_out
    collection = Collection(layout.items(names, purpose, rows), os.path.basename(os.path.abspath(root)), tuple(notes))
    if any(is_video_name(name) for name in names):
        collection = with_frames(collection)
    if stretches is not None:
        return with_events(collection, stretches, root, starts == [""])
    return _labelled(collection, root) if purpose == "eval" else collection


def class_folders(path: str | os.PathLike[str]) -> Collection:
    """The images of a tree with one folder a class, as Caltech-256 has it: `257.clutter/257_0001.jpg`.

    The first subfolder is the kind, whatever its name; no image has a label, since a protocol decides which classes
    are normal (see `amiss.data.protocols`). Images outside the class folders are left out with a note; `groups.csv`
    counts as in `folder_collection`, but for its kinds.

    Raises:
        DataError: the folder is missing, is a file, or holds no class folder with images; a malformed `groups.csv`.
    """
    root = _existing_folder(path)
    names, rows, notes = _listed(root, [""])
    inside = [name for name in names if "/" in name]
    if not inside:
        raise DataError(f"{root} has no subfolders with images; make one for each class: FOLDER/CLASS/*.png")
    if len(inside) < len(names):
        notes.append(f"{len(names) - len(inside)} images outside the class folders were left out")
    prefix = os.path.join(root, "").replace(os.sep, "/")

    def item(name: str) -> Item:
        full, row = prefix + name, rows.get(name)
        kind = sys.intern(name.partition("/")[0])
        return Item(full, partial(read_image, full), kind=kind, group=row.group if row else None)

    return Collection(LazyItems(inside, item), os.path.basename(os.path.abspath(root)), tuple(notes))


def glob_collection(pattern: str) -> Collection:
    """The image files that match a pattern (`*`, `?`, `[...]`, and `**` for any depth), unlabelled, in natural order.

    Hidden files are skipped, and `**` does not enter linked folders.

    Raises:
        DataError: no image file matches.
    """
    matches = [name for name in _expand(pattern) if os.path.isfile(name)]
    names = [name for name in matches if is_image_name(name) or is_video_name(name)]
    if not names:
        found = f"{len(matches)} files, but no images ({', '.join(SUFFIXES)})" if matches else "no files"
        raise DataError(f"the pattern {pattern} matches {found}; check it, or give a folder")
    names.sort(key=natural_key)
    ignored = len(matches) - len(names)
    notes = (f"{ignored} files that are not images were left out",) if ignored else ()
    return with_frames(Collection([_unlabelled(name) for name in names], pattern, notes))


def file_collection(paths: Iterable[str | os.PathLike[str]]) -> Collection:
    """The given image files, unlabelled, in the given order.

    Raises:
        DataError: none is given, or one is missing, is a folder, or has no image's ending.
    """
    names = [os.fspath(path) for path in paths]
    if not names:
        raise DataError("no image files were given; give at least one")
    for name in names:
        if os.path.isdir(name):
            raise DataError(f"{name} is a folder, not an image file; give it on its own")
        if not os.path.exists(name):
            raise DataError(f"{name} does not exist; check the path")
        if not is_image_name(name):
            raise DataError(f"{name} is not an image file; its name must end in one of {', '.join(SUFFIXES)}")
    return Collection([_unlabelled(name) for name in names], names[0] if len(names) == 1 else f"{len(names)} files")


def natural_key(name: str) -> str:
    """A sorting key that counts numbers as numbers; one text, because folders are large and keys are held at once.

    >>> sorted(["b", "a10", "a2"], key=natural_key)
    ['a2', 'a10', 'b']
    """
    # a number stands before any letter, and its length before it: of two numbers the longer is the larger
    return re.sub("[0-9]+", _numbered, name.casefold()) + "\0" + name


def _numbered(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"\1{len(digits):03d}{digits}"


class _Layout:
    """Which labels and masks the places below a folder give."""

    def __init__(self, root: str, by_folders: bool = True) -> None:
        self.root, self._by_folders = root, by_folders
        self.mvtec = all(os.path.isdir(os.path.join(root, part)) for part in ("train", "test"))
        test_normals = self.normal_folders("test") if os.path.isdir(os.path.join(root, "test")) else []
        #: A root without `train/`: enough for who only evaluates.
        self.test_alone = not self.mvtec and bool(test_normals) and not self.normal_folders("")
        home = root if self.mvtec or self.test_alone else os.path.dirname(os.path.abspath(root))
        self.masks = os.path.join(home, "ground_truth")
        self.has_masks = os.path.isdir(self.masks)

    def starts(self, purpose: Purpose) -> tuple[list[str], list[str]]:
        """The subfolders to list for a purpose ("" is the folder itself), and notes about the choice."""
        if purpose == "score":
            return [""], []
        if purpose == "eval":
            return (["test"] if self.mvtec or self.test_alone else [""]), []
        base = "train" if self.mvtec else ""
        normal = self.normal_folders(base)
        if not normal:
            return [base], []
        return normal, [f"only the normal images in {', '.join(normal)} of {self.root} are used"]

    def normal_folders(self, base: str) -> list[str]:
        """Those in a folder; none where a table labels the images instead."""
        if not self._by_folders:
            return []
        folder = os.path.join(self.root, base)
        names = [name for name in sorted(os.listdir(folder)) if name.lower() in NORMAL_FOLDERS]
        return [f"{base}/{name}" if base else name for name in names if os.path.isdir(os.path.join(folder, name))]

    def items(self, names: Sequence[str], purpose: Purpose, rows: dict[str, GroupRow]) -> Sequence[Item]:
        prefix = os.path.join(self.root, "").replace(os.sep, "/")
        # Without a normal folder beside them, the names of folders are labels only if evaluation says so.
        labelled = purpose == "eval" or self.mvtec or self.test_alone or bool(self.normal_folders(""))

        def item(name: str) -> Item:
            part, _, below = name.partition("/") if self.mvtec or self.test_alone else ("test", "", name)
            kind, slash, _ = below.partition("/")
            if not (slash and labelled and (part == "test" or kind.lower() in NORMAL_FOLDERS)):
                kind = ""
            row = rows.get(name)
            kind = (row and row.kind) or kind
            anomalous = kind.lower() not in NORMAL_FOLDERS if kind else None
            full = prefix + name
            return Item(
                full,
                partial(read_image, full),
                kind=NORMAL_KIND if anomalous is False else sys.intern(kind) or None,
                anomalous=anomalous,
                group=row.group if row else None,
                mask=self.mask(below) if anomalous and self.has_masks else None,
            )

        return LazyItems(names, item)

    def mask(self, below: str) -> Path | None:
        path = os.path.join(self.masks, f"{os.path.splitext(below)[0]}_mask.png")
        return Path(path) if os.path.isfile(path) else None


def _labelled(collection: Collection, root: str) -> Collection:
    """The collection, unlabelled items among it, with notes about what is missing for an evaluation."""
    labels = {item.anomalous for item in collection}
    if labels <= {None}:
        if collection.of_video:
            raise DataError(f"{root} has no labelled videos to evaluate on; {_VIDEO_LAYOUT}")
        raise DataError(f"{root} has no labelled images to evaluate on; {_LAYOUT}")
    notes, noun = list(collection.notes), "frame" if collection.of_video else "image"
    if False not in labels:
        notes.append(f"every {noun} is anomalous: none is in a folder called {', '.join(NORMAL_FOLDERS)}")
    elif True not in labels:
        notes.append(f"every {noun} is normal: there is no folder of another name")
    return Collection(collection.items, collection.title, tuple(notes))


def _unlabelled(name: str) -> Item:
    return Item(name.replace(os.sep, "/"), partial(read_image, name))


def _existing_folder(path: str | os.PathLike[str]) -> str:
    root = os.fspath(path)
    if not os.path.isdir(root):
        what = "is a file, not a folder; give the folder" if os.path.exists(root) else "does not exist; check the path"
        raise DataError(f"{root} {what}")
    return root


def _listed(root: str, starts: Sequence[str]) -> tuple[list[str], dict[str, GroupRow], list[str]]:
    """The images below the starts, in natural order, but for masks of those in `groups.csv`; its rows; notes."""
    walked = [_walk(root, start) for start in starts]
    names = [name for found, _ in walked for name in found]
    if not names:
        raise DataError(f"{root} holds no images ({', '.join(SUFFIXES)}) where they were looked for; check the folder")
    notes = []
    ignored = sum(others for _, others in walked)
    if ignored:
        notes.append(f"{ignored} files that are not images were left out")
    table = os.path.join(root, "groups.csv")
    rows: dict[str, GroupRow] = {}
    if os.path.isfile(table):
        rows, moved = rows_by_stem(read_groups(table), names)
        if moved:
            notes.append(
                f"{moved} images have another ending than in {table}, and were found by the rest of their name"
            )
        found = len(names)
        if not any(name in rows for name in names):
            notes.append(f"{table} lists none of the {found} images that were looked for; no groups are known")
        stems = {os.path.splitext(name)[0] for name in rows}
        names = [name for name in names if name in rows or os.path.splitext(name)[0] not in stems]
        if len(names) < found:
            notes.append(
                f"{found - len(names)} images that groups.csv does not list were left out: each has the name of one "
                "that it lists but for the ending, so it is taken for a mask"
            )
    names.sort(key=natural_key)
    return names, rows, notes


def _walk(root: str, start: str) -> tuple[list[str], int]:
    """The images below `root/start`, relative to `root` with `/`, and the number of other files."""
    images: list[str] = []
    others = 0
    stack: list[tuple[str, tuple[str, ...]]] = [(start, (os.path.realpath(os.path.join(root, start)),))]
    while stack:
        folder, above = stack.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            where = os.path.join(root, folder)
            raise DataError(f"{where} cannot be listed ({error.strerror}); check the right to read it") from error
        folders = {entry.name for entry in entries if entry.is_dir()}
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in folders:
                real = os.path.realpath(entry.path)
                # A folder that is one of those above it is a loop; ground_truth beside test holds masks.
                if real not in above and not (entry.name == "ground_truth" and "test" in folders):
                    stack.append((name, (*above, real)))
            elif (is_image_name(entry.name) or is_video_name(entry.name)) and (entry.is_file() or entry.is_symlink()):
                images.append(name)
            elif name not in ("groups.csv", "events.csv"):
                others += 1
    return images, others


def _expand(pattern: str) -> list[str]:
    """What a pattern matches, without hidden files below `**`; names begin as the pattern does."""
    parts = [part for part in pattern.replace(os.sep, "/").split("/") if part]
    if "**" not in parts:
        return glob.glob(pattern)
    # pathlib does not enter linked folders below `**`; glob does, and goes round loops almost for ever.
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = ("/" if pattern.startswith("/") else "") + "/".join(parts[:first])
    rest = [part if part == "**" else re.sub(r"\*+", "*", part) for part in parts[first:]]
    if rest[-1] == "**":
        rest.append("*")
    names = [path.relative_to(base).as_posix() for path in Path(base).glob("/".join(rest))]
    return [posixpath.join(base, name) for name in names if not re.search(r"(^|/)\.", name)]
