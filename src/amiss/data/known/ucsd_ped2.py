"""UCSD Ped2: people walking across the picture."""

from amiss.data.known.base import UcsdSet


class UcsdPed2(UcsdSet):
    """16 training and 12 test clips, 360x240 gray, with pixel masks; carts, bikers and skaters are anomalous."""

    title = "UCSD pedestrians 2"
    folders = ("ucsd-ped2/UCSDped2", "ucsd-ped2", "UCSD_Anomaly_Dataset.v1p2/UCSDped2", "UCSDped2")
