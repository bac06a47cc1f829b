"""What holding near copies out together does to the promise: false alarms with and without, and with groups that are
known.

    python benchmarks/near_copies.py --work FOLDER

The default is fitted on sets of default_sets.py (FOLDER, written once), three times: every image alone, near copies
together (what amiss does), and the items that the data set names together. Writes results/near_copies.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from default_sets import FOLDS, LEARNT, drawn, written
from numpy.typing import NDArray

import amiss
from amiss.data import Item
from amiss.environment import machine
from amiss.fitting import near_copies

RESULTS = Path(__file__).parent.parent / "results"
RATES = (0.01, 0.05, 0.1)
Vectors = NDArray[np.floating]
#: Sets whose items are known, then sets of images that stand alone.
KNOWN = ("magnet tiles 1", "magnet tiles 2", "magnet tiles 3", "ped2 frames")
ALONE = ("brick", "gravel", "coffee", "coins, turned", "garments 3", "digit 3", "cifar-10 3")


def items_of(name: str) -> NDArray[np.int64]:
    """The number of the tile, or clip, of each image that is learnt from, as default_sets.py draws them."""
    if name == "ped2 frames":
        chosen = drawn(amiss.open_images("ucsd-ped2:train", "fit").normal, LEARNT, 0)
        groups = [str(item.video) for item in chosen]
    else:
        fold = int(name[-1]) - 1
        known = [item for part in ("train", "dev") for item in amiss.open_images(f"magnetic-tile:{part}", "eval")]
        good: list[Item] = [item for item in known if not item.anomalous]
        tiles = np.random.default_rng(0).permutation(sorted({str(item.group) for item in good}))
        held = set(np.array_split(tiles, FOLDS)[fold].tolist())
        groups = [str(item.group) for item in drawn([i for i in good if i.group not in held], LEARNT, fold)]
    return np.unique(groups, return_inverse=True)[1]


def false_alarms(folder: Path, grouped: Callable[[Vectors], NDArray[np.int64]]) -> tuple[str, NDArray[np.int64]]:
    """Flagged shares of normal test images at each rate, and the groups that were held out together."""
    found: list[NDArray[np.int64]] = []

    def kept(vectors: Vectors) -> NDArray[np.int64]:
        found.append(grouped(vectors))
        return found[0]

    with warnings.catch_warnings(), mock.patch.object(near_copies, "near_copies", kept):
        warnings.simplefilter("ignore")
        model = amiss.Panel().fit(folder / "good").model_
    p_values = model.score([str(path) for path in sorted((folder / "test" / "good").iterdir())]).p_values
    return " / ".join(f"{100 * np.mean(p_values <= rate):.0f}" for rate in RATES), found[0]


def agreement(groups: NDArray[np.int64], items: NDArray[np.int64]) -> str:
    """Of pairs that are held out together, those of one item; and of pairs of one item, those held out together."""
    others = ~np.eye(len(items), dtype=bool)
    together, same = (groups[:, None] == groups) & others, (items[:, None] == items) & others
    both = (together & same).sum()
    return f"{100 * both / max(together.sum(), 1):.0f} % | {100 * both / max(same.sum(), 1):.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    work: Path = parser.parse_args().work
    lines = [
        "# Near copies, held out together",
        "",
        "Written by `python benchmarks/near_copies.py --work FOLDER`; seed 0. False alarms of the default in %, at 1 / "
        "5 / 10 %, on test images of other items: with every image alone, with near copies together (what amiss does), "
        "and with the items that the data set names together. How near is near was chosen on these sets.",
        "",
        f"Machine: {machine.cpu_name()}.",
        "",
        "| set | images alone | near copies together | items together | pairs together that are of one item | pairs of "
        "one item that are together |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in KNOWN:
        folder, items = written(work, name), items_of(name)
        alone, _ = false_alarms(folder, lambda vectors: np.arange(len(vectors)))
        copies, groups = false_alarms(folder, near_copies.near_copies)
        named, _ = false_alarms(folder, lambda _, items=items: items)  # type: ignore[misc]  # bound to this set
        lines.append(f"| {name} | {alone} | {copies} | {named} | {agreement(groups, items)} |")
        print(lines[-1], flush=True)
    lines += ["", "Images that stand alone, as far as is known:", ""]
    lines += ["| set | share with a near copy | largest group | false alarms, images alone | near copies together |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for name in ALONE:
        folder = written(work, name)
        alone, _ = false_alarms(folder, lambda vectors: np.arange(len(vectors)))
        copies, groups = false_alarms(folder, near_copies.near_copies)
        sizes = np.bincount(groups)
        share = 100 * np.mean(sizes[groups] > 1)
        lines.append(f"| {name} | {share:.0f} % | {sizes.max()} | {alone} | {copies} |")
        print(lines[-1], flush=True)
    (RESULTS / "near_copies.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
