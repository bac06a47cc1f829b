"""What people said of images in a history, as images to teach with."""

from __future__ import annotations

import math

from ...errors import DataError
from .history import History, Said

#: Of each label: fewer leave none to keep aside; from so many on, figures on those kept aside mean something.
_FEWEST, _ENOUGH = 4, 20


def said_of(store: str, model: str) -> tuple[Said, list[str]]:
    """The images that people called normal or anomalous, and sentences on what they are too few for.

    Args:
        store: the history of a service, as `History` takes it. It may be in use.
        model: by its name in the service.

    Raises:
        ServiceError: there is no such history, or it cannot be opened.
        DataError: the store keeps no images, or too little was said; it says how much.
    """
    history = History(store, math.inf, math.inf, must_exist=True)
    said = history.said(model)
    counts = len(said.normal), len(said.anomalous)
    told = f"of {counts[0]} images it was said that they are fine, of {counts[1]} that they are amiss"
    if said.without_image and min(counts) < _FEWEST:
        raise DataError(
            f"of {said.without_image} labelled images of {model} the history keeps no more than a thumbnail, and "
            f"{told} where the image is kept; start amiss serve with --keep-images, and say it of images scored since"
        )
    if min(counts) < _FEWEST:
        others = [name for name in history.models() if name != model]
        hint = f" (the history knows of others: {', '.join(others)})" if others and not any(counts) else ""
        raise DataError(
            f"too little was said of {model}{hint}: {told}; it takes {_FEWEST} of each, better {_ENOUGH}, because "
            "three in ten are kept aside to see what the lesson does"
        )
    notes = []
    if said.without_image:
        notes.append(f"{said.without_image} labelled entries are left out: of them no image is kept")
    if min(counts) < _ENOUGH:
        notes.append(f"{told}: before and after rest on few images; {_ENOUGH} of each or more would tell more")
    return said, notes
