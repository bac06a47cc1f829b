"""Where images come from: folders, arrays and known data sets, all as one `Collection`."""

from amiss.data.collection import Collection, Item
from amiss.data.grammar import open_images
from amiss.data.known import known_sets

__all__ = ["Collection", "Item", "known_sets", "open_images"]
