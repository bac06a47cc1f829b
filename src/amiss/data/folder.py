"""Images in folders, with the labels, masks and groups that the layout of the folder gives."""

# os.path and strings throughout: a Path for each of 50,000 images costs seconds and memory.
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH118, PTH119, PTH120, PTH122, PTH207

from __future__ import annotations

import glob
import os
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from amiss.data.annotations import read_annotations
from amiss.data.collection import Collection, Item, LazyItems
from amiss.data.decode import SUFFIXES, is_image_name, read_image
from amiss.data.labels import (
    NORMAL_FOLDERS,
    NORMAL_KIND,
    GroupRow,
    is_normal_name,
    read_events,
    read_groups,
    rows_by_stem,
    sounds_anomalous,
    with_events,
)
from amiss.data.layouts import IMAGE_FOLDERS, Masks, anomalous_folders, find_masks, recognise
from amiss.data.masks import defect_pixels, looks_like_mask
from amiss.data.pages import with_pages
from amiss.data.video import is_video_name, with_frames
from amiss.errors import DataError, UsageError

#: What images are opened for: it decides which part of a folder is taken, see `folder_collection`.
Purpose = Literal["fit", "score", "eval"]

_LAYOUT = (
    "make one subfolder per kind, the normal images in 'good': FOLDER/good/*.png, FOLDER/crack/*.png; or give "
    "--good FOLDER --bad FOLDER"
)
_LEFT_OUT = "{} files that are not images were left out"
_VIDEO_LAYOUT = (
    "write an events.csv (video,start,end), or put the normal ones in 'good' and the others in folders beside it"
)


def folder_collection(path: str | os.PathLike[str], purpose: Purpose) -> Collection:
    """The images below a folder in natural order (`2.png` before `10.png`).

    Hidden files are skipped, and masks are no images (see `amiss.data.layouts.find_masks`). What is normal tell, in
    this order: `events.csv` (see `amiss.data.labels.with_events`) or the kinds in `groups.csv` in the folder; normal
    folders (see `amiss.data.labels.is_normal_name`) beside others, in the folder or in a set that lies in it (see
    `amiss.data.layouts.recognise`); annotations (see `amiss.data.annotations`); masks, where one that marks something
    makes an image anomalous. An image that `groups.csv` does not list, and that has the name of a listed one but for
    the ending, is taken for a mask, unless the listed one is gone: then it is that one, saved in another format. What
    was recognised is said in a note.

    Args:
        path: the folder; items are named by it and their path below it.
        purpose: what the images are for.

            - `fit`: the normal images, of the part that trains where the set is divided. Where nothing tells which they
              are, every image, with a note where they come in folders; never what may be anomalies.
            - `eval`: of the part that tests, where the set is divided. The first subfolder is the kind; normal ones
              have the kind `good`, all others are anomalous.
            - `score`: every image, with a label where there is one.

    Raises:
        DataError: the folder is missing, is a file, holds no images, has a malformed `groups.csv` or `events.csv`;
            for `eval`, nothing labelled; for `fit`, images of which it is not plain that they are normal; for both,
            several sets.
        UsageError: another purpose.
    """
    if purpose not in ("fit", "score", "eval"):
        raise UsageError(f"purpose is {purpose!r}; it must be 'fit', 'score' or 'eval'")
    root = _existing_folder(path)
    events = os.path.join(root, "events.csv")
    stretches = read_events(events) if os.path.isfile(events) else None
    files, rows, notes = _listed(root)
    tree = _Tree(root, files, rows, by_folders=stretches is None)
    chosen, whole, found = tree.chosen(purpose)
    notes += found
    names = sorted((name for name in tree.images if _is_below(name, chosen)), key=natural_key)
    ignored = sum(_is_below(name, chosen) for name in files.others)
    if ignored:
        notes.append(_LEFT_OUT.format(ignored))
    if not names:
        raise DataError(f"{root} holds no images ({', '.join(SUFFIXES)}) where they were looked for; check the folder")
    items, told = tree.items(names, purpose)
    notes += told
    collection = Collection(items, os.path.basename(os.path.abspath(root)), tuple(notes))
    if any(is_video_name(name) for name in names):
        collection = with_frames(collection)
    if stretches is not None:
        return with_events(with_pages(collection), stretches, root, whole)  # an animation is a video with its own lines
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
    files, rows, notes = _listed(root)
    names = sorted(files.images, key=natural_key)
    inside = [name for name in names if "/" in name]
    if files.others:
        notes.append(_LEFT_OUT.format(len(files.others)))
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


def glob_collection(pattern: str, purpose: Purpose = "score") -> Collection:
    """The image files that match a pattern (`*`, `?`, `[...]`, and `**` for any depth), unlabelled, in natural order.

    Hidden files are skipped, and `**` does not enter linked folders. Masks beside their images are left out, with a
    note.

    Raises:
        DataError: no image file matches, or, for `fit`, some are in folders that speak of anomalies.
    """
    matches = [name for name in _expand(pattern) if os.path.isfile(name)]
    names = [name for name in matches if is_image_name(name) or is_video_name(name)]
    if not names:
        found = f"{len(matches)} files, but no images ({', '.join(SUFFIXES)})" if matches else "no files"
        raise DataError(f"the pattern {pattern} matches {found}; check it, or give a folder")
    names.sort(key=natural_key)
    ignored = len(matches) - len(names)
    notes = [_LEFT_OUT.format(ignored)] if ignored else []
    items, told = _files(names, purpose)
    return with_frames(Collection(items, pattern, (*notes, *told)))


def file_collection(paths: Iterable[str | os.PathLike[str]], purpose: Purpose = "score") -> Collection:
    """The given image files, unlabelled, in the given order. Masks beside their images are left out, with a note.

    Raises:
        DataError: none is given, one is missing, is a folder, or has no image's ending, or, for `fit`, some are in
            folders that speak of anomalies, and others are not.
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
    items, notes = _files(names, purpose)
    return Collection(items, names[0] if len(names) == 1 else f"{len(names)} files", tuple(notes))


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


class _Files(NamedTuple):
    """What is below a folder, relative to it."""

    images: list[str]
    others: list[str]


class _Tree:
    """What the names below a folder, its tables, annotations and masks tell of its images."""

    def __init__(self, root: str, files: _Files, rows: Mapping[str, GroupRow], by_folders: bool) -> None:
        self._root, self._others, self._rows, self._by_folders = root, files.others, rows, by_folders
        self._masks = _masks_of(root, files.images)
        self.images = [name for name in files.images if name not in self._masks.names]
        self._layout = recognise(self.images, by_folders)
        self._in_table = any(row.kind for row in rows.values())

    def chosen(self, purpose: Purpose) -> tuple[list[str], bool, list[str]]:
        """The folders to take for a purpose ("" is all), whether they are all there is, and notes about the choice."""
        layout, root, notes = self._layout, self._root, []
        apart = [name for name in self._masks.names if not name.startswith("ground_truth/")]
        if apart:
            notes.append(f"{len(apart)} masks in {root} were recognised, such as {min(apart)}, and are no images")
        if self._masks.doubtful:
            notes.append(self._doubt())
        if purpose == "score" or (layout.several and not self._by_folders):
            return [""], True, notes
        if layout.several:
            raise DataError(self._several(purpose))
        if purpose == "eval":
            tested = layout.starts("test") or layout.starts("validation")
            return tested or [""], not tested, notes
        trained = layout.starts("train") or [""]
        normal = [name for name in layout.normal if _is_below(f"{name}/", trained)]
        if normal:
            notes.append(f"only the normal images in {_few(normal)} of {root} are used")
        elif trained != [""]:
            notes.append(f"only the images in {_few(trained)} of {root} are used")
        return normal or trained, not normal and trained == [""], notes

    def items(self, names: Sequence[str], purpose: Purpose) -> tuple[Sequence[Item], list[str]]:
        """The images of these names, with their labels, and notes about what gave them."""
        labels, notes = self._labels(names, purpose)
        if purpose == "fit" and self._by_folders:
            names, told = self._learnable(names, labels)
            notes += told
        prefix = os.path.join(self._root, "").replace(os.sep, "/")
        # Without a normal folder beside them, the names of folders are labels only if evaluation says so.
        labelled = purpose == "eval" or bool(self._layout.parts) or bool(self._layout.normal)

        def item(name: str) -> Item:
            row = self._rows.get(name)
            if labels is not None:
                anomalous, kind = labels.get(name, (None, None))
            else:
                kind = self._kind(name) if labelled and self._by_folders else None
                kind = (row and row.kind) or kind
                anomalous = not is_normal_name(kind) if kind else None
            full, mask = prefix + name, self._masks.of.get(name)
            return Item(
                full,
                partial(read_image, full),
                kind=NORMAL_KIND if anomalous is False else sys.intern(kind) if kind else None,
                anomalous=anomalous,
                group=row.group if row else None,
                mask=Path(mask) if anomalous and mask else None,
            )

        return LazyItems(names, item), notes

    def _kind(self, name: str) -> str | None:
        """What the folder of an image says of it; in a part that does not test, only what is normal."""
        if self._layout.several:
            return None
        part, kind = self._layout.place(name)
        tests = part in ("test", "validation") or not self._layout.parts
        return kind if kind and part != "unlabelled" and (tests or is_normal_name(kind)) else None

    def _labels(
        self, names: Sequence[str], purpose: Purpose
    ) -> tuple[Mapping[str, tuple[bool | None, str | None]] | None, list[str]]:
        """By annotations or masks, where neither a table nor folders tell what is normal."""
        if not self._by_folders or self._in_table or self._layout.normal or self._layout.several:
            return None, []
        try:
            annotations = read_annotations(self._root, self._others, names)
        except DataError as error:
            if purpose != "score":
                raise
            return None, [str(error)]  # scores need no labels
        if annotations is not None:
            labels = {name: annotations.label(name) for name in names}
            return labels, [f"{_counted(labels)} by {annotations.source}"]
        masked = [name for name in names if name in self._masks.of]
        if not masked:
            return None, []
        marked = {name: _marks(self._masks.of[name]) for name in masked}
        # where every mask marks something, only anomalies have one
        others = False if all(marked.values()) else None
        labels = {name: (marked.get(name, others), None) for name in names}
        return labels, [f"{_counted(labels)} by their masks"]

    def _learnable(
        self, names: Sequence[str], labels: Mapping[str, tuple[bool | None, str | None]] | None
    ) -> tuple[Sequence[str], list[str]]:
        """Those that are normal, as far as anything tells; raises `DataError` where that is not plain."""
        root = self._root
        if labels is not None:
            normal = [name for name in names if labels[name][0] is False]
            if not normal:
                raise DataError(
                    f"{root} has no image that its masks or annotations leave normal, and amiss learns from normal "
                    "ones; put those into a folder 'good', and give that"
                )
            return normal, []
        if self._masks.doubtful:
            raise DataError(self._doubt())
        if self._layout.normal or self._in_table:
            return names, []
        found = anomalous_folders(names)
        if found:
            raise DataError(
                f"{root} holds {_few(found)}, which speaks of anomalies, and no folder called "
                f"{', '.join(NORMAL_FOLDERS)}; say which are normal: amiss fit {self._without(names, found)}"
            )
        own = os.path.basename(os.path.abspath(root))
        if sounds_anomalous(own):
            return names, [f"{own} speaks of anomalies, and is learnt from as normal, because it was named"]
        inside = sorted({name.partition("/")[0] for name in names if "/" in name})
        if not inside:
            return names, []
        return names, [
            f"no folder in {root} is called {', '.join(NORMAL_FOLDERS)}: all {len(names)} images are learnt from as "
            f"normal, those in {_few(inside)} among them"
        ]

    def _without(self, names: Sequence[str], found: Sequence[str]) -> str:
        """What to give to the command line instead: all but these folders."""
        rest = sorted({name.rpartition("/")[0] for name in names if not _is_below(name, found)})
        outer = [
            folder for folder in rest if not any(_is_below(f"{folder}/", [other]) for other in rest if other != folder)
        ]
        if not outer or "" in outer:
            return f"'{os.path.join(self._root, '*.*')}'" if outer else "FOLDER"
        return " ".join(os.path.join(self._root, folder) for folder in outer)

    def _several(self, purpose: Purpose) -> str:
        first = os.path.join(self._root, self._layout.bases[0])
        command = f"amiss fit {first}" if purpose == "fit" else f"amiss eval MODEL {first}"
        return f"{self._root} holds several sets, {_few(self._layout.bases)}; give one of them: {command}"

    def _doubt(self) -> str:
        image, mask = self._masks.doubtful[0]
        ending = os.path.splitext(image)[1]
        return (
            f"{self._root} holds {image} and {mask}, and {len(self._masks.doubtful)} such pairs in all, of which it is "
            f"not plain whether the second is the mask of the first; if so, give '{self._root}/**/*{ending}', else "
            "keep one of each"
        )


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


def _files(names: Sequence[str], purpose: Purpose) -> tuple[list[Item], list[str]]:
    """Image files given one by one, but for the masks among them; notes."""
    if len(names) < 2:
        return [_unlabelled(name) for name in names], []
    paths = [name.replace(os.sep, "/") for name in names]
    above = posixpath.commonprefix([f"{posixpath.dirname(path)}/" for path in paths]).rpartition("/")[0]
    path_of = {path.removeprefix(above).lstrip("/"): name for path, name in zip(paths, names, strict=True)}
    masks = find_masks(list(path_of), lambda name: looks_like_mask(path_of[name]))
    kept = [short for short in path_of if short not in masks.names]
    notes = []
    if masks.names:
        notes.append(f"{len(masks.names)} masks were recognised, such as {path_of[min(masks.names)]}, and left out")
    if not kept:
        raise DataError(f"all {len(names)} files, such as {names[0]}, are masks; give the images that they belong to")
    if purpose == "fit":
        found = anomalous_folders(kept)
        if found:
            raise DataError(
                f"some of the {len(kept)} images to learn from are in {_few(found)}, which speaks of anomalies; "
                "give the normal ones alone"
            )
    shorts = {name: short for short, name in path_of.items()}
    return [_unlabelled(name) for name in names if shorts.get(name) not in masks.names], notes


def _masks_of(root: str, names: Sequence[str]) -> Masks:
    """The masks among the pictures of a folder, and in a folder of masks beside it; `of` gives their paths."""
    own = os.path.basename(os.path.abspath(root))
    parent = os.path.dirname(os.path.abspath(root))
    beside = ("ground_truth", "masks", "Masks") if own.lower() in IMAGE_FOLDERS else ("ground_truth",)
    paths = {f"{own}/{name}": os.path.join(root, name) for name in names}
    for folder in beside:
        if os.path.isdir(os.path.join(parent, folder)):
            outside = _walk(os.path.join(parent, folder)).images
            paths |= {f"{folder}/{name}": os.path.join(parent, folder, name) for name in outside}
    found = find_masks([name for name in paths if is_image_name(name)], lambda name: looks_like_mask(paths[name]))
    start = len(own) + 1
    return Masks(
        {image[start:]: paths[mask] for image, mask in found.of.items() if image.startswith(f"{own}/")},
        frozenset(mask[start:] for mask in found.names if mask.startswith(f"{own}/")),
        tuple((image[start:], mask[start:]) for image, mask in found.doubtful),
    )


def _marks(mask: str) -> bool | None:
    """Whether a mask marks anything; None where it cannot be read."""
    try:
        return bool(defect_pixels(mask).any())
    except DataError:
        return None


def _counted(labels: Mapping[str, tuple[bool | None, str | None]]) -> str:
    counts = Counter(anomalous for anomalous, _ in labels.values())
    unknown = f", {counts[None]} unlabelled" if counts[None] else ""
    return f"of {len(labels)} images {counts[False]} count as normal, {counts[True]} as anomalous{unknown},"


def _few(names: Sequence[str]) -> str:
    """Names for people, the first three where there are more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name or "." for name in names[:3]) + more


def _is_below(name: str, folders: Sequence[str]) -> bool:
    return any(not folder or name.startswith(f"{folder}/") for folder in folders)


def _listed(root: str) -> tuple[_Files, dict[str, GroupRow], list[str]]:
    """What is below a folder, but for masks of images in `groups.csv`; the rows of that table; notes."""
    files = _walk(root)
    notes: list[str] = []
    table = os.path.join(root, "groups.csv")
    if not os.path.isfile(table):
        return files, {}, notes
    found = files.images
    rows, moved = rows_by_stem(read_groups(table), found)
    if moved:
        notes.append(f"{moved} images have another ending than in {table}, and were found by the rest of their name")
    if not any(name in rows for name in found):
        notes.append(f"{table} lists none of the {len(found)} images that were looked for; no groups are known")
    stems = {os.path.splitext(name)[0] for name in rows}
    names = [name for name in found if name in rows or os.path.splitext(name)[0] not in stems]
    if len(names) < len(found):
        notes.append(
            f"{len(found) - len(names)} images that groups.csv does not list were left out: each has the name of one "
            "that it lists but for the ending, so it is taken for a mask"
        )
    return _Files(names, files.others), rows, notes


def _walk(root: str) -> _Files:
    """The images and other files below a folder, relative to it with `/`."""
    images: list[str] = []
    others: list[str] = []
    stack: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while stack:
        folder, above = stack.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            where = os.path.join(root, folder)
            raise DataError(f"{where} cannot be listed ({error.strerror}); check the right to read it") from error
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                real = os.path.realpath(entry.path)
                if real not in above:  # else it is a loop
                    stack.append((name, (*above, real)))
            elif (is_image_name(entry.name) or is_video_name(entry.name)) and (entry.is_file() or entry.is_symlink()):
                images.append(name)
            elif name not in ("groups.csv", "events.csv"):
                others.append(name)
    return _Files(images, others)


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
