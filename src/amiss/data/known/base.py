"""What every known data set tells about itself, and how it is found, fetched and loaded."""

from __future__ import annotations

import os
import re
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from amiss.data.arrays import array_collection, read_idx
from amiss.data.collection import Collection, Item
from amiss.data.decode import is_image_name, read_image
from amiss.data.folder import folder_collection
from amiss.data.locate import Progress, cache_folder, checksum, fetch, find
from amiss.errors import DataError, MissingDataError, UsageError


@dataclass(frozen=True)
class Download:
    """One official file: its name, address and digest (`unpacked`: the digest of what the gzip holds)."""

    name: str
    url: str
    sha256: str | None = None
    md5: str | None = None
    unpacked: bool = False

    def is_whole(self, path: Path) -> bool:
        """Whether the file at `path` is there and has the digest."""
        algorithm, digest = ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)
        try:
            return checksum(path, algorithm, unpacked=self.unpacked) == digest
        except (OSError, EOFError, zlib.error):
            return False


class KnownSet(ABC):
    """A data set known by name. A subclass says what it is in class attributes, and how to read a split.

    Attributes:
        title: its name as people write it.
        source: who made it, and where it is published.
        licence: under which terms.
        splits: the names of its parts.
        classes: the kinds its images have, in the order of their indices.
        folders: names of its folder below a data folder, the preferred one first.
        files: what must be in that folder.
        downloads: its official files; empty where it must be got by hand.
    """

    title: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    classes: ClassVar[tuple[str, ...]]
    folders: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, ...]]
    downloads: ClassVar[tuple[Download, ...]] = ()

    @property
    def name(self) -> str:
        """The name in specifications: that of the file it is defined in, with hyphens."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def locate(self) -> Path | None:
        """Where it is on disk, or None."""
        return find(self.folders, self.files)

    def status(self) -> str:
        """One line for people: where it was found, or that it is missing."""
        found = self.locate()
        return "missing" if found is None else f"found at {found}"

    def load(self, split: str) -> Collection:
        """One split; `kind` is the class of each image. Checksums are not computed here but by `get`.

        A set that is not on disk is fetched from its official address, unless `AMISS_OFFLINE=1` forbids it.

        Raises:
            UsageError: there is no such split.
            MissingDataError: the set is not on disk and could not be fetched.
            DataError: its files are broken.
        """
        if split not in self.splits:
            given = f"has no split {split!r}" if split else "needs a split"
            raise UsageError(f"{self.name} {given}; write one of {', '.join(f'{self.name}:{s}' for s in self.splits)}")
        found = self.locate()
        if found is None:
            found = self._fetched()
        return self.read(found, split)

    def _fetched(self) -> Path:
        if not self.downloads or os.environ.get("AMISS_OFFLINE") == "1":
            raise self.missing()
        print(f"amiss: {self.name} is not on disk; fetching it from {self.source}", file=sys.stderr)
        try:
            return self.get()
        except MissingDataError as error:
            raise MissingDataError(f"{self.missing()}; it could not be fetched: {error.__cause__ or error}") from error

    @abstractmethod
    def read(self, location: Path, split: str) -> Collection:
        """Read one of `splits` from what `locate` returned."""

    def get(self, destination: Path | None = None, progress: Progress | None = None) -> Path:
        """Fetch the official files into a folder, by default that of the user's cache, and check all of them.

        Files that are there already and whole are kept.

        Returns:
            The folder.

        Raises:
            MissingDataError: they cannot be had; the message says where to put them by hand.
        """
        if not self.downloads:
            raise self.missing()
        folder = cache_folder() / self.folders[0] if destination is None else destination
        for file in self.downloads:
            path = folder / file.name
            if not file.is_whole(path):
                fetch(file.url, path, sha256=file.sha256, md5=file.md5, unpacked=file.unpacked, progress=progress)
        return folder

    def missing(self) -> MissingDataError:
        """The error to raise when it is not on disk; the message says what to put where."""
        return MissingDataError(
            f"{self.name} is not on disk; put {', '.join(self.files)} from {self.source} "
            f"into {cache_folder() / self.folders[0]} or into a folder {self.folders[0]} below $AMISS_DATA"
        )

    def class_named(self, text: str) -> str:
        """The class of this name (in any case) or index.

        Raises:
            UsageError: there is none; the message lists them.
        """
        for index, name in enumerate(self.classes):
            if text.casefold() in (name.casefold(), str(index)):
                return name
        listed = ", ".join(f"{index} {name}" if name != str(index) else name for index, name in enumerate(self.classes))
        raise UsageError(f"{self.name} has no class {text!r}; choose from {listed}")


class IdxSet(KnownSet):
    """A set in the four files of MNIST."""

    files = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )

    def read(self, location: Path, split: str) -> Collection:
        prefix = {"train": "train", "test": "t10k"}[split]
        images = read_idx(location / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(location / f"{prefix}-labels-idx1-ubyte.gz")
        if labels.shape != images.shape[:1] or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(self.classes):
            raise DataError(f"the labels in {location} do not fit the images of {self.name}:{split}; fetch both again")
        return array_collection(
            images, f"{self.name}:{split}", kinds=[self.classes[label] for label in labels.tolist()]
        )


class FolderSet(KnownSet):
    """A set whose categories are folders, each divided into folders that are read as any folder is.

    A split is `CATEGORY-PART`, such as `bottle-test`. What is normal is told by folders, or by masks that mark nothing;
    then every anomaly has the kind `defect`.

    Attributes:
        categories: names of the folders; ("",) where there is but one, the set's own.
        parts: of each part of a category, where it lies in it.
    """

    categories: ClassVar[tuple[str, ...]]
    parts: ClassVar[Mapping[str, str]] = {"train": "train", "test": "test"}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.files = cls.categories if any(cls.categories) else tuple(cls.parts.values())
        cls.splits = tuple(f"{category}-{part}".lstrip("-") for category in cls.categories for part in cls.parts)

    def locate(self) -> Path | None:
        """The folder that holds any of the categories, or None: nobody needs all of them."""
        found = (find(self.folders, (file,)) for file in self.files)
        return next((folder for folder in found if folder is not None), None)

    def read(self, location: Path, split: str) -> Collection:
        category, _, part = split.rpartition("-")
        folder = location / category / self.parts[part]
        if not folder.is_dir():
            raise DataError(f"{folder} is missing; unpack it from {self.source}")
        found = folder_collection(folder, "eval")
        items = [replace(item, kind=item.kind or "defect") if item.anomalous else item for item in found]
        return Collection(items, f"{self.name}:{split}")


class UcsdSet(KnownSet):
    """UCSD's pedestrian walkways, in the official folders: one of numbered frames for each clip, `TestNNN_gt` masks.

    Copies whose frames or masks have another ending (`.jpg` or `.png` for `.tif` and `.bmp`) are read as well.
    """

    source = "http://www.svcl.ucsd.edu/projects/anomaly/dataset.html"
    licence = "free for research with citation; Mahadevan et al., CVPR 2010"
    classes = ("good", "anomaly")
    files = ("Train", "Test")

    def read(self, location: Path, split: str) -> Collection:
        base = location / split.capitalize()
        clips = sorted(path for path in base.glob(f"{split.capitalize()}[0-9][0-9][0-9]") if path.is_dir())
        if not clips:
            raise DataError(f"{base} holds no folders {base.name}001, {base.name}002, ...; fetch {self.source} again")
        anomalous = self._labels(base, len(clips)) if split == "test" else [set[int]() for _ in clips]
        items, lossy = [], False
        for clip, marked in zip(clips, anomalous, strict=True):
            frames = sorted((path for path in clip.iterdir() if is_image_name(path.name)), key=lambda p: p.name)
            masks = {path.stem: path for path in clip.with_name(f"{clip.name}_gt").glob("*.*")}
            lossy = lossy or any(path.suffix.lower() in (".jpg", ".jpeg") for path in frames)
            for number, path in enumerate(frames, start=1):
                bad = number in marked
                items.append(
                    Item(
                        path.as_posix(),
                        partial(read_image, path.as_posix()),
                        kind=self.classes[bad],
                        anomalous=bad,
                        group=clip.name,
                        mask=masks.get(path.stem) if bad else None,
                        video=clip.name,
                    )
                )
        notes = ("the frames are a lossy (JPEG) copy of the original's",) if lossy else ()
        return Collection(items, f"{self.name}:{split}", notes)

    def _labels(self, base: Path, clips: int) -> list[set[int]]:
        """Of each clip the anomalous frames, counted from 1, as the official Matlab script lists them."""
        script = next(iter(sorted(base.glob("UCSDped*.m"))), None)
        if script is None:
            raise DataError(f"{base} holds no UCSDped*.m with the labels of the frames; fetch {self.source} again")
        lines = [line for line in script.read_text(encoding="utf-8").splitlines() if "gt_frame" in line]
        if len(lines) != clips:
            raise DataError(f"{script} labels {len(lines)} clips, but {base} holds {clips}; fetch {self.source} again")
        return [
            {
                frame
                for first, last in re.findall(r"(\d+)\s*:\s*(\d+)", line)
                for frame in range(int(first), int(last) + 1)
            }
            for line in lines
        ]
