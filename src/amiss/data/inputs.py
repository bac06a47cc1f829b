"""What a scorer is asked about: images, or the clips that end with them; of a stream, and of images in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clips import Clips, PassingClips, video_of
from .collection import Item
from .preprocessing import Preprocessing
from .stack import Prepared, Stack, stream


def streamed_inputs(
    items: Iterable[Item],
    preprocessing: Preprocessing,
    clip_length: int = 1,
    ahead: int = 16,
    picture: int | None = None,
) -> Iterator[Prepared]:
    """Inputs in the order of the items: `image` is (c, h, w), or, where `clip_length` is more than 1, (t, c, h, w), the
    clip that ends with the frame.

    Args:
        items: images, or frames as they come.
        preprocessing: of the model.
        clip_length: frames that are scored together.
        ahead: images read in advance.
        picture: give each its picture for people, the longest side at most so many pixels.
    """
    clips = PassingClips(clip_length) if clip_length > 1 else None
    for prepared in stream(items, preprocessing, ahead, picture):
        if clips is not None and prepared.image is not None:
            prepared = replace(prepared, image=clips.push(video_of(prepared.item), prepared.image))
        yield prepared


def stacked_inputs(stack: Stack, indices: NDArray[np.int64], clip_length: int = 1) -> NDArray[Any] | Clips:
    """Inputs (n, ...) for the images, or frames, of these indices."""
    if clip_length == 1:
        images: NDArray[Any] = stack.images[indices]
        return images
    assert stack.firsts is not None  # frames of videos always have them
    return Clips(stack.images, stack.firsts, clip_length, indices)
