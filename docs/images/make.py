"""Draws adacl.png and bcae1.png from Fashion-MNIST: `python docs/images/make.py` (a minute or two)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import amiss
from amiss.anomalies.created import CREATORS
from amiss.data.preprocessing import to_float

HERE = Path(__file__).parent
#: Pixels: side of a drawn picture, gap between pictures, width of the row titles.
SIDE, GAP, TITLE = 84, 8, 150
INK, QUIET, ACCENT = (29, 33, 38), (89, 97, 107), (173, 63, 16)


def normals(kind: str, split: str, count: int) -> NDArray[np.uint8]:
    """The first images (count, h, w) of a kind."""
    images = amiss.open_images(f"fashion-mnist:{split}:normal={kind}").normal
    return np.stack([item.read() for item in images[:count]])


def sheet(
    rows: Sequence[tuple[str, Sequence[NDArray[Any]]]], heads: Sequence[tuple[int, str, Any]], path: Path
) -> None:
    """Rows of pictures with their titles; `heads` are (column, text, colour) above them."""
    columns = max(len(row) for _, row in rows)
    top = 28 if heads else GAP
    size = (TITLE + columns * (SIDE + GAP) + GAP, top + len(rows) * (SIDE + GAP) + GAP)
    page = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for column, text, colour in heads:
        pen.text((TITLE + column * (SIDE + GAP), 6), text, fill=colour, font=font)
    for number, (title, row) in enumerate(rows):
        y = top + number * (SIDE + GAP)
        pen.text((10, y + SIDE // 2 - 10), title, fill=INK, font=font)
        for column, pixels in enumerate(row):
            picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            page.paste(picture.convert("RGB"), (TITLE + column * (SIDE + GAP), y))
    page.quantize(128).save(path, optimize=True)


def draw_adacl() -> None:
    """Normal images, and below each what every kind of created anomaly makes of it."""
    normal = np.concatenate([normals("Sneaker", "train", 4), normals("Dress", "train", 3)])
    batch = torch.from_numpy(to_float(normal[:, None]))
    generator = torch.Generator().manual_seed(4)
    rows = [("normal", list(normal))]
    for name, create in CREATORS.items():
        created = create(batch, generator)[:, 0].clamp(0, 1)
        rows.append((name, list((created * 255).round().byte().numpy())))
    sheet(rows, [], HERE / "adacl.png")


def draw_bcae1() -> None:
    """Input, reconstruction and map of normal and anomalous images that were not learnt from."""
    detector = amiss.BCAE1(seed=0, epochs=20).fit(amiss.open_images("fashion-mnist:train:normal=Sneaker").normal[:3000])
    anomalous = [normals(kind, "test", 1) for kind in ("Bag", "Trouser", "Sandal", "Ankle boot")]
    images = np.concatenate([normals("Sneaker", "test", 4), *anomalous])
    floats = torch.from_numpy(to_float(images[:, None]))
    with torch.inference_mode():
        rebuilt = (detector._scorer.network(floats)[:, 0] * 255).round().byte().numpy()
    # White: the map's threshold, which few normal images reach anywhere; the root makes small errors visible.
    maps = np.sqrt(detector.anomaly_map(images) / detector.map_scale_.threshold).clip(0, 1)
    errors = (maps * 255).round().astype(np.uint8)
    rows = [("input", list(images)), ("reconstruction", list(rebuilt)), ("map", list(errors))]
    sheet(rows, [(0, "normal", QUIET), (4, "anomalous", ACCENT)], HERE / "bcae1.png")


if __name__ == "__main__":
    draw_adacl()
    draw_bcae1()
