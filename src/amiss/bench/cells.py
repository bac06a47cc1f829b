"""A cell of a table: one fit, on one case of one set, with one seed. Tables that share a cell share its result."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data import Collection, known_sets, open_images
from ..errors import UsageError
from ..registry import get_method
from ..settings import as_text, check_settings
from .table import Table

#: Frames of each video that the smallest slice takes.
_FEW_FRAMES = 20


@dataclass(frozen=True)
class Cell:
    """One fit and what is measured of it.

    Attributes:
        name: `ROW/SET/CASE`, which `--cells` picks by.
        protocol, data, case, options, choosing: of the set, see `amiss.bench.table.DataSet`.
        method, settings, epochs, labels: of the row, see `amiss.bench.table.Row`.
        seed: of the fit, and of what the protocol draws.
        few: images that are kept of each part, for a slice that shows that the cell runs; None: all.
    """

    name: str
    protocol: str
    data: str
    case: str
    options: dict[str, Any]
    choosing: tuple[str, ...]
    method: str
    settings: dict[str, Any]
    epochs: int | None
    labels: bool
    seed: int
    few: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What a result must have been measured with to be this cell's, as plain values."""
        return {
            "protocol": self.protocol,
            "data": self.data,
            "case": self.case,
            "options": self.options,
            "method": self.method,
            "settings": as_text(get_method(self.method), self.settings),
            "epochs": self.epochs,
            "labels": self.labels,
            "seed": self.seed,
        }

    @property
    def key(self) -> str:
        """`identity` as text."""
        return json.dumps(self.identity, sort_keys=True)

    @property
    def is_here(self) -> bool:
        """Is its data set on this machine?"""
        return not self.data or known_sets()[self.data].locate() is not None

    def detector(self) -> Any:
        """The method with its settings, not fitted. Raises `UsageError`."""
        epochs: dict[str, Any] = {} if self.epochs is None else {"epochs": self.epochs}
        return get_method(self.method)(seed=self.seed, **self.settings, **epochs)

    def open(self, spec: str) -> Collection:
        """A part of its data set, such as `train:normal=3`; `few` images of it where the cell asks for that.

        Raises:
            MissingDataError: the set is not here.
        """
        return self.kept(open_images(f"{self.data}:{spec}"))

    def kept(self, images: Collection) -> Collection:
        """The images that the cell uses of a part."""
        if self.few is None:
            return images
        if images.of_video:
            return _around_first_anomaly(images)
        chosen = [images[number * len(images) // self.few] for number in range(min(self.few, len(images)))]
        return replace(images, items=chosen)


def _around_first_anomaly(frames: Collection) -> Collection:
    """Of every video a few frames together: where it first changes, or else its first ones."""
    videos: dict[str, list[int]] = {}
    for index, item in enumerate(frames):
        videos.setdefault(item.video or "", []).append(index)
    kept: list[int] = []
    for indices in videos.values():
        first = next((at for at, index in enumerate(indices) if frames[index].anomalous), 0)
        start = max(0, first - _FEW_FRAMES // 2)
        kept += indices[start : start + _FEW_FRAMES]
    return replace(frames, items=[frames[index] for index in kept])


def cells_of(
    table: Table,
    seeds: Sequence[int] = (0,),
    patterns: Sequence[str] = (),
    epochs: int | None = None,
) -> list[Cell]:
    """The cells of a table, in the order in which they are run: all with the first seed, then all with the next.

    Args:
        table: see `read_table`.
        seeds: of the fits.
        patterns: of names, `ROW/SET/CASE` with `*`; those that fit one are kept; none: all.
        epochs: in place of the rows' own, where the method is trained in epochs.

    Raises:
        UsageError: a pattern that no cell fits, or a setting that a method does not have.
    """
    cells = list(_all_cells(table, epochs))
    for pattern in patterns:
        if not any(_fits(cell.name, pattern) for cell in cells):
            raise UsageError(f"no cell is called {pattern}; cells are ROW/SET/CASE, such as {cells[-1].name}")
    chosen = [cell for cell in cells if not patterns or any(_fits(cell.name, pattern) for pattern in patterns)]
    found = [replace(cell, seed=seed) for seed in seeds for cell in chosen]
    return list({cell.key: cell for cell in found}.values())  # rows may show different figures of one fit


def smallest_cells(table: Table) -> list[Cell]:
    """One cell for each method and protocol of a table, on sets that are here, with next to no images and epochs."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in _all_cells(table, None):
        if cell.is_here and (cell.method, cell.protocol) not in found:
            short = cell.detector().shortest_settings()
            epochs = short.pop("epochs", 1) if get_method(cell.method).has_epochs else None
            patch = cell.settings.get("patch")
            size = {} if cell.protocol == "parameters" else {"size": (64, 64) if patch or cell.data else "auto"}
            settings = cell.settings | check_settings(get_method(cell.method), short | size)
            found[cell.method, cell.protocol] = replace(cell, settings=settings, epochs=epochs, few=100)
    return list(found.values())


def _all_cells(table: Table, epochs: int | None) -> Iterator[Cell]:
    for key, row in table.all_rows().items():
        if row.method is None:
            continue
        method = get_method(row.method)
        settings = check_settings(method, row.settings)
        own = epochs if epochs is not None and method.has_epochs else row.epochs
        for name, dataset in table.sets.items():
            if row.sets and name not in row.sets:
                continue
            for case in dataset.cases:
                yield Cell(
                    f"{key}/{name}/{case}", dataset.protocol, dataset.data, case, dataset.options, dataset.choosing,
                    row.method, settings, own, row.labels, 0,
                )  # fmt: skip


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
