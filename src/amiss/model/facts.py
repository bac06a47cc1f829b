"""What a fitted model keeps of the method that made it."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    name: str
    label: str
    title: str
    paper: str
    gives_map: bool
    clip_length: int
    sees_whole_images: bool
    patch: tuple[int, int] | None
