"""BTAD: three industrial products, with masks."""

from amiss.data.known.base import FolderSet


class BTAD(FolderSet):
    """Mishra et al., VT-ADL: a vision transformer network for image anomaly detection and localization, 2021."""

    title = "BeanTech anomaly detection"
    source = "https://github.com/pankajmishra000/VT-ADL"
    licence = "CC BY-NC-SA 4.0; Mishra et al."
    classes = ("good", "ko")
    folders = ("btad", "BTech_Dataset_transformed", "BTAD")
    categories = ("01", "02", "03")
