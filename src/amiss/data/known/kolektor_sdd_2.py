"""KolektorSDD2: surfaces of a production item in colour, with masks."""

from amiss.data.known.base import FolderSet


class KolektorSDD2(FolderSet):
    """Bozic et al., Mixed supervision for surface-defect detection, 2021.

    The part that trains has anomalies, too; a fit on it takes the others.
    """

    title = "Kolektor surface defects 2"
    source = "https://www.vicos.si/resources/kolektorsdd2/"
    licence = "CC BY-NC-SA 4.0; Kolektor Group"
    classes = ("good", "defect")
    folders = ("kolektor-sdd-2", "KolektorSDD2", "kolektorsdd2")
    categories = ("",)
