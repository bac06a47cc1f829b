"""Fashion-MNIST: pieces of clothing, 28x28 gray; 60,000 to train, 10,000 to test."""

from __future__ import annotations

from amiss.data.known.base import Download, IdxSet

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


class FashionMNIST(IdxSet):
    """Xiao et al., Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017."""

    title = "Fashion-MNIST"
    source = _URL
    licence = "MIT; Zalando SE"
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    folders = ("fashion-mnist", "FashionMNIST/raw")
    # Copies are packed by different programs: only what they hold is the same.
    downloads = tuple(
        Download(name, _URL + name, sha256=sha256, unpacked=True)
        for name, sha256 in zip(
            IdxSet.files,
            (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
            strict=True,
        )
    )
