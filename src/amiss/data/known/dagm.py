"""DAGM 2007: ten artificial textures, with masks (ellipses around the defects)."""

from typing import ClassVar

from amiss.data.known.base import FolderSet


class DAGM(FolderSet):
    """Wieler and Hahn, Weakly supervised learning for industrial optical inspection, DAGM 2007.

    The part that trains has anomalies, too; a fit on it takes the others.
    """

    title = "DAGM 2007"
    source = "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection"
    licence = "free to use with citation; Heidelberg Collaboratory for Image Processing"
    classes = ("good", "defect")
    folders = ("dagm", "DAGM2007", "DAGM")
    categories = tuple(f"Class{number}" for number in range(1, 11))
    parts: ClassVar = {"train": "Train", "test": "Test"}
