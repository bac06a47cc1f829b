"""Where images come from: folders, arrays and known data sets, all as one `Collection`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Collection": "collection",
        "Images": "grammar",
        "good_and_bad": "grammar",
        "Item": "collection",
        "known_sets": "known",
        "open_images": "grammar",
    },
)

if TYPE_CHECKING:  # for type checkers alone
    from . import examples as examples
    from . import live as live
    from .collection import Collection as Collection
    from .collection import Item as Item
    from .grammar import Images as Images
    from .grammar import good_and_bad as good_and_bad
    from .grammar import open_images as open_images
    from .known import known_sets as known_sets
