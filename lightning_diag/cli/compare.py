"""``lightning-diag compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_diag.cli.reading import progress, say, tell, told, writable
from lightning_diag.comparison import Comparison, Run, compare, draw_comparison, render_comparison, short_names, verdict
from lightning_diag.engine import diagnose
from lightning_diag.errors import RecordError
from lightning_diag.output import replace_file
from lightning_diag.readers import Place, find_logs, no_log, read_place
from lightning_diag.words import listed

PAGE = "comparison.md"
FIGURES = "comparison"
MOST_NOTES = 10


def run(options: argparse.Namespace) -> int:
    """Read and judge every run, write one page.

    Raises:
        DiagError: fewer than two runs can be read.
        OSError: the page cannot be written.
    """
    folder = None if options.out == "-" else writable(Path(options.out))
    places = list({_same(place): place for path in options.paths for place in _places(path)}.values())
    names = short_names([place.path for place in places], [place.run for place in places])
    runs: list[Run] = []
    unread: list[str] = []
    notes: dict[str, list[str]] = {}
    given = told(options)
    for place, name in progress(list(zip(places, names, strict=True)), "reading"):
        try:
            history, report = read_place(place, given)
        except RecordError as error:
            unread.append(str(error))
            continue
        for note in report.notes:
            notes.setdefault(note, []).append(name)
        runs.append(Run(name=name, history=history, diagnosis=diagnose(history)))
    if unread and len(runs) < 2:
        raise RecordError(f"{len(runs)} of {len(places)} runs can be read; the first that cannot: {unread[0]}")
    for note, where in list(notes.items())[:MOST_NOTES]:
        tell(f"note, {'all runs' if len(where) == len(runs) > 1 else listed(where, 3)}: {note}")
    comparison = compare(runs, folds=options.folds)
    if folder is None:
        say(render_comparison(comparison))
    else:
        path = _write(folder, comparison, figures=not options.no_figures)
        say(f"{len(runs)} runs. {verdict(comparison)}\n\ncomparison: {path}")
    for line in unread:
        tell(f"not read: {line}")
    return 0


def _same(place: Place) -> tuple[Path, str]:
    """What makes two paths one run: a run that is given twice would win against itself."""
    return place.path.resolve(), place.run


def _places(path: Path) -> list[Place]:
    places = find_logs(path)
    if not places:
        raise no_log(path)
    return places


def _write(folder: Path, comparison: Comparison, *, figures: bool) -> Path:
    drawn = draw_comparison(comparison) if figures else {}
    for name, content in drawn.items():
        replace_file(folder / FIGURES / f"{name}.svg", content)
    page = render_comparison(comparison, {name: f"{FIGURES}/{name}.svg" for name in drawn})
    return replace_file(folder / PAGE, page.encode())
