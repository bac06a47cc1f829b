"""What an installed wheel must do outside the tree, with the core install alone: `python smoke.py MODEL`."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import amiss


def amiss_says(*arguments: str) -> str:
    return subprocess.run(
        [Path(sys.executable).with_name("amiss"), *arguments], check=True, capture_output=True, text=True
    ).stdout


model = sys.argv[1]
assert importlib.util.find_spec("torch") is None, "the core install has no torch"
assert Path(amiss.__file__).is_relative_to(sys.prefix), "the installed package is what is tried"
assert amiss_says("--version").strip() == amiss.__version__
assert "padim" in amiss_says("methods")
assert "panel" in amiss_says("info", model)
images = Path("images")
images.mkdir()
rng = np.random.default_rng(0)
for number in range(3):
    Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(images / f"{number}.png")
amiss_says("score", model, str(images), "--out", "scores.csv", "--report", "report")
rows = list(csv.DictReader(Path("scores.csv").read_text(encoding="utf-8").splitlines()))
scores = amiss.load(model).score(images).scores
assert [f"{float(row['score']):.4f}" for row in rows] == [f"{score:.4f}" for score in scores]
assert "</html>" in Path("report", "report.html").read_text(encoding="utf-8")
print("the wheel works outside the tree")
