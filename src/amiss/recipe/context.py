"""What a fit works with, and what its training gives."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..environment.files import make_folder

if TYPE_CHECKING:
    from torch import nn

    from ..data.labelled import Labelled
    from ..data.preprocessing import Preprocessing
    from ..data.splits import Splits
    from ..data.stack import Stack
    from ..networks.backbone import Features
    from ..progress import Progress
    from ..training.record import TrainingRecord


@dataclass(frozen=True)
class FitContext:
    """Everything that training may use, once images are open, prepared and divided.

    Attributes:
        preprocessing: of every image.
        stack: the normal images, prepared.
        splits: which of them train, choose the epoch, calibrate. Nothing in training looks at the calibration part.
        labelled: labelled images beside them.
        backbone: images to scaled feature maps, where one was asked for.
        work_dir: where checkpoints go, or None.
        resume: go on from them.
        progress: told what is done of how much.
    """

    preprocessing: Preprocessing
    stack: Stack
    splits: Splits
    labelled: Labelled
    backbone: Features | None
    work_dir: Path | None
    resume: bool
    progress: Progress

    def within(self, folder: str, title: str | None = None) -> FitContext:
        """The same for a part of the work: with a folder of its own, and a title (else its name) before what progress
        tells."""
        work_dir = None if self.work_dir is None else self.work_dir / folder
        if work_dir is not None:
            make_folder(work_dir)

        def told(task: str, done: int, total: int, detail: str) -> None:
            self.progress(f"{title or folder}: {task}", done, total, detail)

        return dataclasses.replace(self, work_dir=work_dir, progress=told)


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes:
        head: the scorer, or, with a backbone, what stands behind it; whole images in, where they are scored by patches
            too.
        record: of the stages.
        warnings: what looked wrong.
    """

    head: nn.Module
    record: TrainingRecord
    warnings: list[str]
