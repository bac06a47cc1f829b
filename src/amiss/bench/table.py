"""A paper's table as data: its rows, the sets it is measured on, and the figures that the paper prints."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..environment.plugins import check_name
from ..errors import DataError

#: What the last column of a set with several cases is called.
MEAN = "mean"


@dataclass(frozen=True)
class Measure:
    """How a figure of a fit is shown.

    Attributes:
        title: for people.
        unit: what 1 stands for in a record, in the unit that is shown: 100 for shares, which are shown in %.
        digits: that are shown behind the point.
    """

    title: str
    unit: float = 100.0
    digits: int = 1


MEASURES = {
    "auroc": Measure("AUROC, %"),
    "eer": Measure("EER, %"),
    "f1": Measure("F1, %"),
    "auroc_causal": Measure("AUROC of the mean of 9 frames, %"),
    "auroc_normalised": Measure("AUROC, papers' scaling, %"),
    "eer_normalised": Measure("EER, papers' scaling, %"),
    "auroc_others": Measure("AUROC, clips not chosen on, %"),
    "auroc_normalised_others": Measure("AUROC, papers' scaling, clips not chosen on, %"),
    "pixel_auroc": Measure("pixel AUROC, %"),
    "events_found": Measure("events found", unit=1.0),
    "events_false": Measure("false events", unit=1.0),
    "shown": Measure("AUROC of the kind shown, %"),
    "unseen": Measure("AUROC of the kind never shown, %"),
    "parameters": Measure("parameters, millions", unit=1e-6, digits=2),
    "kinds_mean": Measure("AUROC, mean of the kinds, %"),
} | {f"f1_{positive}_{percent}{at}": Measure(f"F1 ({positive} positive{', D(x) = 0.5' if at else ''}) at {percent} % "
                                              "outliers, %")
     for positive in ("anomalous", "normal") for percent in (10, 20, 30, 40, 50)
     for at in ("", "_at_half")}  # fmt: skip


def measure_of(name: str) -> Measure:
    """What is known of a figure: one of `MEASURES`, or `kind:NAME`, the AUROC of one kind of anomaly."""
    return MEASURES[name] if name in MEASURES else Measure(f"AUROC of {name.removeprefix('kind:')}, %")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Entry):
    """One data set of a table, as it is divided.

    Attributes:
        data: name of a known set; empty where nothing is read.
        protocol: how it is divided and measured; a function of `amiss.bench.protocols`.
        cases: each is a fit, such as a class that is normal; of one case, the columns are `measures`.
        choosing: those cases, or videos, on which settings may be chosen; figures of the others stand beside.
        measures: what is shown of each fit; of several cases, the first alone.
        options: of the protocol.
    """

    data: str
    protocol: Literal[
        "one_class", "one_anomalous", "few_labels", "outlier_shares", "split", "categories", "video", "parameters"
    ]
    cases: tuple[str, ...] = ("all",)
    choosing: tuple[str, ...] = ()
    measures: Annotated[tuple[str, ...], Field(min_length=1)] = ("auroc",)
    options: dict[str, Any] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Of what `Row.printed` lists: the cases and their mean, or the measures of the one case."""
        return (*self.cases, MEAN) if len(self.cases) > 1 else self.measures


class Row(_Entry):
    """One row of a table.

    Attributes:
        name: as the paper has it.
        method: registry name; None where amiss has no such method, and the row is the paper's alone.
        settings: of the method, where they are not its defaults.
        epochs: at most, in our runs; None: the method's default, or it has none.
        paper_epochs: what the paper trained, for all sets or by set; None where it does not say.
        labels: the method is given the protocol's labelled anomalies.
        figure: shown of the fit in place of a measure, such as the score of one path.
        sets: names of those it is measured on; empty: all.
        printed: by set, what the paper prints, in the order of the set's columns; NaN where it prints nothing; may end
            early.
        note: a sentence.
    """

    name: str
    method: str | None = None
    settings: dict[str, Any] = {}
    epochs: int | None = None
    paper_epochs: int | dict[str, int] | None = None
    labels: bool = False
    figure: dict[str, str] = {}
    sets: tuple[str, ...] = ()
    printed: dict[str, tuple[float, ...]] = {}
    note: str = ""

    def paper_epochs_on(self, dataset: str) -> int | None:
        """What the paper trained on a set."""
        epochs = self.paper_epochs
        return epochs.get(dataset) if isinstance(epochs, dict) else epochs


class Table(_Entry):
    """A table of a paper, or one of ours that stands for what a paper shows on data that is not here.

    Attributes:
        title: what it shows.
        paper: key and section or table; "" for a table of ours.
        paper_protocol, protocol: how the paper measured, and how we do, in sentences.
        sets, rows: by short names, in their order.
        trivial: settings of the trivial baselines, which stand in every table that reads images.
    """

    title: str
    paper: str = ""
    paper_protocol: str = ""
    protocol: str
    sets: dict[str, DataSet]
    rows: dict[str, Row]
    trivial: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, row in self.rows.items():
            for each in (*row.sets, *row.printed):
                if each not in self.sets:
                    raise ValueError(f"row {name} speaks of the set {each}, which the table does not have")
            for each, figures in row.printed.items():
                if len(figures) > len(self.sets[each].columns):
                    raise ValueError(
                        f"row {name} prints {len(figures)} figures for {each}, whose columns are "
                        f"{', '.join(self.sets[each].columns)}"
                    )
        return self

    def all_rows(self) -> dict[str, Row]:
        """The trivial baselines that suit the sets, and the table's rows."""
        protocols = {each.protocol for each in self.sets.values()}
        names = {} if protocols == {"parameters"} else _TRIVIAL
        own = {(row.method, str(row.settings)) for row in self.rows.values()}
        trivial = {
            method: Row(
                name=title,
                method=method,
                settings={} if method == "frame_difference" else self.trivial,
                sets=tuple(key for key, each in self.sets.items() if each.protocol == "video") if video else (),
            )
            for method, (title, video) in names.items()
            if not video or "video" in protocols
        }
        kept = {key: row for key, row in trivial.items() if (row.method, str(row.settings)) not in own}
        return kept | self.rows


#: Trivial baselines: their names, and whether they are of video alone.
_TRIVIAL = {
    "pixel_zscore": ("z-score of the pixels", False),
    "pca": ("principal components", False),
    "knn": ("nearest neighbours", False),
    "frame_difference": ("difference of two frames", True),
}


def figure_of(row: Row, measure: str) -> str:
    """The name, in a fit's figures, of what a row shows as `measure`."""
    return row.figure.get(measure, measure)


def is_printed(value: float) -> bool:
    """Does the paper print a figure there?"""
    return not math.isnan(value)


@cache
def table_names() -> tuple[str, ...]:
    """All tables, which are files of this package, by their file names."""
    files = resources.files(__package__).joinpath("tables").iterdir()
    return tuple(sorted(each.name.removesuffix(".toml") for each in files if each.name.endswith(".toml")))


@cache
def read_table(name: str) -> Table:
    """The table of this name.

    Raises:
        UsageError: there is none; the message names one that is near, or all.
        DataError: its file is not a table.
    """
    check_name(name, table_names(), "table")
    text = resources.files(__package__).joinpath("tables", f"{name}.toml").read_text(encoding="utf-8")
    try:
        return Table.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{name}.toml is not a table: {error}") from error
