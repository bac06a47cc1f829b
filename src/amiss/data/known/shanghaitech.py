"""ShanghaiTech Campus: 13 places of a campus, among them cyclists, chases and brawls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amiss.data.collection import Collection, Item
from amiss.data.decode import check_pixels, is_image_name, read_image
from amiss.data.folder import natural_key
from amiss.data.known.base import KnownSet
from amiss.data.video import VIDEO_ENDINGS, Chained, frames_of
from amiss.errors import DataError


class ShanghaiTech(KnownSet):
    """Luo, Liu and Gao, A revisit of sparse coding based anomaly detection in stacked RNN framework, ICCV 2017.

    330 training videos (or their frames, in `training/frames`), and 107 test videos as frames, whose labels are in
    `testing/test_frame_mask`. The masks of pixels are not used.
    """

    title = "ShanghaiTech Campus"
    source = "https://svip-lab.github.io/dataset/campus_dataset.html"
    licence = "for research with citation; Luo, Liu and Gao"
    classes = ("good", "anomaly")
    folders = ("shanghaitech", "ShanghaiTech")
    files = ("training", "testing")

    def read(self, location: Path, split: str) -> Collection:
        frames = sorted(path for path in (location / f"{split}ing" / "frames").glob("*") if path.is_dir())
        if frames:
            parts = [self._frames(folder, location, split) for folder in frames]
            return Collection([item for part in parts for item in part], f"{self.name}:{split}")
        videos = sorted(p for p in (location / "training" / "videos").glob("*") if p.suffix.lower() in VIDEO_ENDINGS)
        if split == "test" or not videos:
            raise DataError(f"{location / f'{split}ing'} holds no frames; unpack {self.source} there")
        return Collection(Chained([_video(path) for path in videos]), f"{self.name}:{split}")

    def _frames(self, folder: Path, location: Path, split: str) -> list[Item]:
        paths = sorted((p for p in folder.iterdir() if is_image_name(p.name)), key=lambda p: natural_key(p.name))
        marked = np.zeros(len(paths), dtype=np.bool_)
        if split == "test":
            marked = _marked(location / "testing" / "test_frame_mask" / f"{folder.name}.npy")
            if len(marked) != len(paths):
                raise DataError(
                    f"{folder} has {len(paths)} frames, and its labels are of {len(marked)}; fetch both again"
                )
        return [
            Item(
                path.as_posix(),
                partial(read_image, path.as_posix()),
                kind=self.classes[int(bad)],
                anomalous=bool(bad),
                group=folder.name,
                video=folder.name,
            )
            for path, bad in zip(paths, marked, strict=True)
        ]


def _video(path: Path) -> Sequence[Item]:
    return frames_of(
        Item(path.as_posix(), partial(check_pixels, np.zeros((1, 1), np.uint8), path.name), anomalous=False)
    )


def _marked(path: Path) -> NDArray[np.bool_]:
    """(frames,) True where a frame of a test video is anomalous."""
    try:
        marked: NDArray[np.bool_] = np.load(path, allow_pickle=False).ravel().astype(np.bool_)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as the labels of a video ({error}); fetch it again") from error
    return marked
