"""``diagnosis.md``: the report for people."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_diag.findings import Diagnosis, Finding
from lightning_diag.history import RunHistory
from lightning_diag.report.document import Report, Section
from lightning_diag.report.rendering import markdown_environment, split_verdict, tidy
from lightning_diag.report.sections import build, heading
from lightning_diag.report.sections.causes import cause
from lightning_diag.report.sections.curves import curves
from lightning_diag.report.sections.epochs import epochs
from lightning_diag.report.sections.result import result
from lightning_diag.report.view import View

_NO_FIGURES: Mapping[str, str] = {}


def render_markdown(history: RunHistory, diagnosis: Diagnosis, *, figures: Mapping[str, str] = _NO_FIGURES) -> str:
    """The report as Markdown (GitHub flavour: pipe tables).

    Args:
        history: the run.
        diagnosis: its judgement.
        figures: name of a figure (as :func:`~lightning_diag.report.draw_figures` gives them) to the relative path it is
            linked under. Without ``curves`` the report shows lines of text instead.

    Returns:
        The text, ending in one newline. Its size is bounded: long runs and many classes are thinned, and it says so.
    """
    return document_markdown(build(View(history=history, diagnosis=diagnosis, figures=figures)), figures)


def document_markdown(report: Report, figures: Mapping[str, str] = _NO_FIGURES) -> str:
    """Any document as Markdown: title, verdict, sections. ``figures`` as for :func:`render_markdown`."""
    first, rest = split_verdict(report.verdict)
    template = markdown_environment().get_template("diagnosis.md.jinja")
    return tidy(template.render(report=report, first=first, rest=rest, figures=figures))


def finding_markdown(finding: Finding) -> str:
    """One finding as Markdown, for a notebook."""
    block = cause(finding, 0, View(history=RunHistory(), diagnosis=Diagnosis(verdict="", findings=(finding,))))
    return _sections("", (Section(key="causes", title="", blocks=(block,)),))


def history_markdown(history: RunHistory) -> str:
    """The numbers of a run without a judgement: start, best and end, curves, epochs."""
    view = View(history=history, diagnosis=Diagnosis(verdict=""))
    blocks = (*result(view), *curves(view), *epochs(view))
    return _sections(heading(view).replace("Diagnosis: ", ""), (Section(key="result", title="", blocks=blocks),))


def _sections(title: str, sections: tuple[Section, ...]) -> str:
    template = markdown_environment().get_template("part.md.jinja")
    return tidy(template.render(title=title, sections=sections, figures=_NO_FIGURES))


# A notebook asks a value how it looks. The values themselves know no report, so this layer tells them.
setattr(Finding, "_repr_markdown_", finding_markdown)  # noqa: B010  (mypy allows no new attribute by assignment)
setattr(RunHistory, "_repr_markdown_", history_markdown)  # noqa: B010  (as above)
