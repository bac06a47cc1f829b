"""MNIST: handwritten digits, 28x28 gray; 60,000 to train, 10,000 to test."""

from __future__ import annotations

from amiss.data.known.base import Download, IdxSet

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"


class MNIST(IdxSet):
    """LeCun et al., Gradient-based learning applied to document recognition, 1998."""

    title = "MNIST"
    source = _URL
    licence = "CC BY-SA 3.0; Yann LeCun, Corinna Cortes, Christopher J. C. Burges"
    classes = tuple("0123456789")
    folders = ("mnist", "MNIST/raw")
    # Copies are packed by different programs: only what they hold is the same.
    downloads = tuple(
        Download(name, _URL + name, md5=md5, unpacked=True)
        for name, md5 in zip(
            IdxSet.files,
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
            strict=True,
        )
    )
