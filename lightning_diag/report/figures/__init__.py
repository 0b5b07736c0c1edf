"""The figures of a report: a run in, bytes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning_diag.findings import Diagnosis
from lightning_diag.history import RunHistory
from lightning_diag.report.figures.classes import confusion, recall
from lightning_diag.report.figures.curves import curves
from lightning_diag.report.figures.drift import drift
from lightning_diag.report.figures.signals import ctc, pretrained, stopping
from lightning_diag.report.figures.style import drawing, save
from lightning_diag.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[View], Figure | None]] = {
    "curves": curves,
    "recall": recall,
    "confusion": confusion,
    "ctc": ctc,
    "pretrained": pretrained,
    "drift": drift,
    "stopping": stopping,
}
"""Every figure by the name of its file."""


def draw_figures(history: RunHistory, diagnosis: Diagnosis, *, format: str = "svg") -> dict[str, bytes]:  # noqa: A002  (matplotlib's word)
    """Every figure that has content, drawn without pyplot and under this library's own style.

    Args:
        history: the run.
        diagnosis: its judgement.
        format: ``svg`` (with a dark variant inside) or ``png``.

    Returns:
        Name to file content; empty without matplotlib (install ``lightning-diag[plots]``), whereupon the report shows
        lines of text instead.
    """
    if find_spec("matplotlib") is None:
        return {}
    view = View(history=history, diagnosis=diagnosis)
    drawn = {name: _draw(name, view, format) for name in FIGURES}
    return {name: content for name, content in drawn.items() if content is not None}


def _draw(name: str, view: View, file_format: str) -> bytes | None:
    """One figure, or None; a fault of one figure costs that figure and one warning, never the report."""
    try:
        with drawing(name):
            made = FIGURES[name](view)
            return save(made, file_format) if made is not None else None
    except Exception as error:  # noqa: BLE001  (whatever matplotlib cannot do with the values of a run)
        text = (
            f"The figure {name!r} could not be drawn ({type(error).__name__}: {error}); the report goes on without it."
        )
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return None
