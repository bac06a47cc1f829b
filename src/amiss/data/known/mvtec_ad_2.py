"""MVTec AD 2: 8 kinds of objects under changing light, with masks of the public test images."""

from typing import ClassVar

from amiss.data.known.base import FolderSet


class MVTecAD2(FolderSet):
    """Heckler-Kram et al., The MVTec AD 2 dataset, 2025. `test` is the public part: the others have no labels."""

    title = "MVTec AD 2"
    source = "https://www.mvtec.com/company/research/datasets/mvtec-ad-2"
    licence = "CC BY-NC-SA 4.0; MVTec Software GmbH"
    classes = ("good", "bad")
    folders = ("mvtec-ad-2", "mvtec_ad_2", "MVTecAD2")
    categories = ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")
    parts: ClassVar = {"train": "train", "validation": "validation", "test": "test_public"}
