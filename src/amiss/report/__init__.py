"""The report: one HTML file that says what was found, how sure that is, and shows the pictures."""

from __future__ import annotations

from .heatmap import overlay, thumbnail_data_uri
from .page import Picture, ReportData, render, write_report

__all__ = ["Picture", "ReportData", "overlay", "render", "thumbnail_data_uri", "write_report"]
