"""The sections of a report in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable

from lightning_diag.report.document import Block, Report, Section
from lightning_diag.report.sections.causes import ranked_causes
from lightning_diag.report.sections.checks import checked_and_clear, configuration, not_checked
from lightning_diag.report.sections.classes import classes, confused_pairs, groups
from lightning_diag.report.sections.course import learning_rate, stopping, updates
from lightning_diag.report.sections.curves import curves
from lightning_diag.report.sections.doubts import not_established
from lightning_diag.report.sections.epochs import epochs
from lightning_diag.report.sections.facts import data, pretrained
from lightning_diag.report.sections.plan import plan
from lightning_diag.report.sections.result import result
from lightning_diag.report.sections.samples import samples
from lightning_diag.report.sections.sequence import ctc
from lightning_diag.report.view import View
from lightning_diag.rules.no_end import unended

Builder = Callable[[View], tuple[Block, ...]]

SECTIONS: tuple[tuple[str, str, Builder], ...] = (
    ("result", "Where it started, got to and ended", result),
    ("curves", "Curves", curves),
    ("causes", "What went wrong, most important first", ranked_causes),
    ("not_established", "What is not established", not_established),
    ("epochs", "Epochs", epochs),
    ("classes", "Classes", classes),
    ("groups", "Groups", groups),
    ("confusions", "Most confused", confused_pairs),
    ("samples", "Sample predictions", samples),
    ("learning_rate", "Learning rate", learning_rate),
    ("updates", "Gradients and updates", updates),
    ("stopping", "Stopping", stopping),
    ("data", "Data", data),
    ("pretrained", "Pretrained weights", pretrained),
    ("ctc", "CTC", ctc),
    ("plan", "Plan of action", plan),
    ("clear", "Checked and clear", checked_and_clear),
    ("not_checked", "Not checked, because", not_checked),
    ("configuration", "Configuration and thresholds", configuration),
)


def build(view: View) -> Report:
    """The report of a run: every section that has something to say."""
    built = ((key, title, builder(view)) for key, title, builder in SECTIONS)
    sections = tuple(
        Section(key=key, title=_title(key, title, view), blocks=blocks) for key, title, blocks in built if blocks
    )
    return Report(title=heading(view), verdict=view.diagnosis.verdict, sections=sections)


def _title(key: str, title: str, view: View) -> str:
    """A run without a cause has nothing that went wrong, only things worth knowing; the classes of CTC are tokens."""
    if key == "causes" and not view.diagnosis.causes:
        return "Worth knowing"
    return "Tokens" if key == "classes" and view.history.context.task == "ctc" else title


def heading(view: View) -> str:
    """``Diagnosis: resumed fit of Net, epochs 22–41``; it says so where the record has no end."""
    return f"{_run(view)}{' (no end recorded)' if unended(view.history) else ''}"


def _run(view: View) -> str:
    context, records = view.history.context, view.history.epochs
    kind = "resumed fit" if context.resumed_from or context.resumed_epoch else "fit" if context.model.name else "run"
    of = f" of {context.model.name}" if context.model.name else ""
    if not records:
        return f"Diagnosis: {kind}{of}"
    first, last = records[0].epoch, records[-1].epoch
    resumed = context.resumed_epoch
    if resumed is not None and first < resumed <= last:
        return f"Diagnosis: {kind}{of}, epochs {resumed}–{last} (recorded from {first})"
    span = f"epoch {first}" if first == last else f"epochs {first}–{last}"
    return f"Diagnosis: {kind}{of}, {span}"
