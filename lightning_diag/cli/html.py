"""``lightning-diag html``."""

from __future__ import annotations

import argparse

from lightning_diag.cli.reading import folder_of, read, say
from lightning_diag.engine import diagnose
from lightning_diag.output import replace_file
from lightning_diag.report import draw_figures, render_html


def run(options: argparse.Namespace) -> int:
    """Write one page with everything in it.

    Raises:
        DiagError: the log or an argument cannot be understood.
        OSError: the page cannot be written.
    """
    history, report, place = read(options)
    diagnosis = diagnose(history)
    page = render_html(history, diagnosis, draw_figures(history, diagnosis))
    path = options.out or folder_of(place)
    path = path if options.out and not path.is_dir() else path / "diagnosis.html"
    say("\n".join([*report.head(), "", f"page: {replace_file(path, page.encode())}"]))
    return 0
