"""A diagnosis as Markdown, JSON, figures and HTML: value in, text out."""

from __future__ import annotations

from lightning_diag.report.figures import draw_figures
from lightning_diag.report.html import render_html
from lightning_diag.report.jsonfile import render_json
from lightning_diag.report.markdown import finding_markdown, history_markdown, render_markdown
from lightning_diag.report.schema import ReportEntry, json_schema, read_json

__all__ = [
    "ReportEntry",
    "draw_figures",
    "finding_markdown",
    "history_markdown",
    "json_schema",
    "read_json",
    "render_html",
    "render_json",
    "render_markdown",
]
