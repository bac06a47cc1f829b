"""UCSD Ped1: people walking towards and away from the camera."""

from amiss.data.known.base import UcsdSet


class UcsdPed1(UcsdSet):
    """34 training and 36 test clips of 200 frames, 238x158 gray; carts, bikers and skaters are anomalous."""

    title = "UCSD pedestrians 1"
    folders = ("ucsd-ped1/UCSDped1", "ucsd-ped1", "UCSD_Anomaly_Dataset.v1p2/UCSDped1", "UCSDped1")
