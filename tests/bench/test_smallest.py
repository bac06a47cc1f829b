"""The smallest slice of every table runs, on sets that are here and on tiny trees of sets that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amiss.bench.cells import cells_of, smallest_cells
from amiss.bench.run import try_cell
from amiss.bench.table import read_table, table_names

#: Methods, and protocols with their data, that have run: not each needs to in every table.
RAN: set[object] = set()


@pytest.mark.slow
@pytest.mark.parametrize("name", table_names())
def test_the_smallest_slice_runs(name: str, require_data: Callable[[str], None]) -> None:
    table = read_table(name)
    cells = smallest_cells(table)
    if not cells:
        require_data(next(each.data for each in table.sets.values()))
    new = [cell for cell in cells if {cell.method, (cell.protocol, cell.data)} - RAN]
    for cell in new or cells[:1]:
        if new and not {cell.method, (cell.protocol, cell.data)} - RAN:
            continue
        RAN.update((cell.method, (cell.protocol, cell.data)))
        outcome = try_cell(cell)
        assert outcome.state == "measured", f"{cell.name}: {outcome.reason}"
        assert outcome.record is not None
        figures = outcome.record["figures"]
        for measure in table.sets[cell.name.split("/")[1]].measures:
            if not measure.endswith("_at_half"):
                assert measure in figures
        if "auroc" in figures:
            assert 0 <= figures["auroc"] <= 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where data sets are looked for."""
    monkeypatch.setattr("amiss.data.locate._SYSTEM_FOLDERS", ())
    monkeypatch.setenv("AMISS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AMISS_OFFLINE", "1")
    return tmp_path


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for name in names:
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / name)


def figures_of(name: str, pattern: str) -> dict[str, float]:
    (cell,) = cells_of(read_table(name), patterns=[pattern])
    outcome = try_cell(cell)
    assert outcome.record is not None, outcome.reason
    figures: dict[str, float] = outcome.record["figures"]
    return figures


def test_a_set_that_comes_later_is_run(home: Path) -> None:
    (cell,) = cells_of(read_table("g2d-2"), patterns=["pca/categories-3"])
    assert try_cell(cell).state == "missing"
    for folder in ("001.ak47", "002.flag", "003.bag", "257.clutter"):
        pictures(home / "caltech-256" / folder, [f"{number:03}.jpg" for number in range(24)])
    assert {"auroc", "f1"} <= set(figures_of("g2d-2", "pca/categories-3"))


def test_kinds_of_lesions(home: Path) -> None:
    lines = ["lesion_id,image_id,dx"]
    for number in range(90):
        kind = "nv" if number < 60 else ("akiec", "bcc", "bkl", "df", "mel", "vasc")[number % 6]
        lines.append(f"L{number},ISIC_{number},{kind}")
    folder = home / "ham10000"
    pictures(folder / "images", [f"ISIC_{number}.jpg" for number in range(90)])
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines))
    figures = figures_of("ravi-4.6", "pca/ham10000")
    kinds = [figures[f"kind:{kind}"] for kind in ("akiec", "bcc", "bkl", "df", "mel", "vasc")]
    assert figures["kinds_mean"] == pytest.approx(np.mean(kinds))
