"""``lightning-diag diagnose``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_diag.cli.reading import folder_of, read, say, tell, thresholds, writable
from lightning_diag.engine import diagnose
from lightning_diag.findings import Diagnosis
from lightning_diag.garbage import without_collections
from lightning_diag.output import write_report
from lightning_diag.report import render_markdown

_FAILING = {"error": ("error",), "warning": ("error", "warning")}


@without_collections()
def run(options: argparse.Namespace) -> int:
    """Read, judge, write; 1 when ``--fail-on`` asks for it.

    Raises:
        DiagError: the log or an argument cannot be understood.
        OSError: the report cannot be written.
    """
    given = thresholds(options.set, options.config)
    history, report, place = read(options)
    diagnosis = diagnose(history, thresholds=given)
    folder = None if options.out == "-" else writable(Path(options.out) if options.out else folder_of(place))
    if folder is None:
        if not options.quiet:
            tell("\n".join(report.head()))
        say(render_markdown(history, diagnosis))
    else:
        path = write_report(folder, history, diagnosis, figures=not options.no_figures)
        if not options.quiet:
            say("\n".join([*report.lines(), "", *summary(diagnosis), "", f"report: {path}"]))
    failing = _FAILING.get(options.fail_on, ())
    return int(any(finding.severity in failing for finding in diagnosis.findings))


def summary(diagnosis: Diagnosis) -> list[str]:
    """The verdict and a line per finding."""
    lines = [diagnosis.verdict]
    lines += [f"  {f.code} {f.severity}: {f.title} ({f.claim})" for f in diagnosis.findings]
    if diagnosis.crashed:
        lines.append(f"  failed: {', '.join(c.code or c.name for c in diagnosis.crashed)}")
    return lines
