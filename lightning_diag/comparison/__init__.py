"""Several runs on one page: a pure comparison value, its Markdown and its figure."""

from __future__ import annotations

from lightning_diag.comparison.comparing import compare, mean_interval
from lightning_diag.comparison.figure import draw_comparison
from lightning_diag.comparison.naming import short_names
from lightning_diag.comparison.page import render_comparison, verdict
from lightning_diag.comparison.values import Comparison, Difference, Folds, Run, Score, Setting, Standing

__all__ = [
    "Comparison",
    "Difference",
    "Folds",
    "Run",
    "Score",
    "Setting",
    "Standing",
    "compare",
    "draw_comparison",
    "mean_interval",
    "render_comparison",
    "short_names",
    "verdict",
]
