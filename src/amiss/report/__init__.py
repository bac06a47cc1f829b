"""The report: one HTML file that says what was found, how sure that is, and shows the pictures; tables and films."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Picture": "page",
        "ReportData": "page",
        "overlay": "heatmap",
        "render": "page",
        "thumbnail_data_uri": "heatmap",
        "write_report": "page",
    },
)

if TYPE_CHECKING:  # for type checkers alone
    from . import charts as charts
    from . import collect as collect
    from . import explained as explained
    from . import film as film
    from . import heatmap as heatmap
    from . import page as page
    from . import regions as regions
    from . import score_curves as score_curves
    from . import table as table
    from . import unlike as unlike
    from .heatmap import overlay as overlay
    from .heatmap import thumbnail_data_uri as thumbnail_data_uri
    from .page import Picture as Picture
    from .page import ReportData as ReportData
    from .page import render as render
    from .page import write_report as write_report
