"""In which order to act: which weights to go on with, which cause to take first, which can wait for the next run.

The steps themselves stand with their causes, so that none is said twice.
"""

from __future__ import annotations

import re

from lightning_diag.findings import Finding
from lightning_diag.report.document import Block, Bullets, Item
from lightning_diag.report.escape import quoted
from lightning_diag.report.sections.causes import sentence, words
from lightning_diag.report.view import View, title
from lightning_diag.words import listed

FACTS = re.compile(r"LD(30[4-7]|40[2-589]|410|50[1258]|6\d\d|7\d\d)")
"""Findings about data, weights and evaluation, which hold whatever the course of this run was."""


MEANINGLESS = ("LD115", "LD202")
"""After these no epoch is better than another: nothing was learned, or nothing that validation shows."""


def plan(view: View) -> tuple[Block, ...]:
    """An ordered list; empty when one cause already says all."""
    causes = view.diagnosis.causes
    steps = [("Now:", _keep(view))]
    if len(causes) > 1:
        ranked = list(enumerate(causes, 1))[1:]
        facts = [_named(rank, finding) for rank, finding in ranked if FACTS.match(finding.code)]
        course = [_named(rank, finding) for rank, finding in ranked if not FACTS.match(finding.code)]
        steps += [
            ("First:", f"{_named(1, causes[0])}: make sure of it, take its first step, and run again"),
            ("At the same time:", _together(facts)),
            ("Then:", _again(course)),
        ]
    items = tuple(Item(lead=lead, text=sentence(text)) for lead, text in steps if text)
    return (Bullets(items=items, ordered=True),) if items else ()


def _named(rank: int, finding: Finding) -> str:
    return f"cause {rank} ({words(finding.name)})"


def _together(facts: list[str]) -> str:
    """The causes that can be mended with the first one, in one step."""
    if not facts:
        return ""
    holds = "is a fact of the set-up and holds" if len(facts) == 1 else "are facts of the set-up and hold"
    return f"{listed(facts)} {holds} whatever comes of cause 1"


def _again(course: list[str]) -> str:
    """The causes that may go away with the first one."""
    if not course:
        return ""
    was, it = ("was", "it") if len(course) == 1 else ("were", "them")
    return f"{listed(course)} {was} measured on a run that cause 1 may have spoilt; look for {it} again in the next one"


def _keep(view: View) -> str:
    """Which weights to go on with, when the last ones are not the best."""
    best, final, signal = view.best, view.final, view.metric[0]
    causes = view.diagnosis.causes
    if best is None or final is None or not causes or FACTS.match(causes[0].code) or causes[0].code in MEANINGLESS:
        return ""
    said = ("keep the checkpoint", f"weights of epoch {best.epoch} ")
    if any(phrase in text.lower() for finding in causes for text in (finding.why, *finding.actions) for phrase in said):
        return ""
    start = view.history.context.baseline
    better_start = start is not None and start.correct is not None and signal == "val/acc"
    if start is not None and start.correct is not None and better_start and start.correct.rate > best.values[signal]:
        where = f" of epoch {start.epoch}" if start.epoch is not None else ""
        return f"Keep the checkpoint{where} that this fit started from; nothing since has been better"
    if best is final or best.values[signal] == final.values.get(signal):
        return ""
    path = view.history.context.stop.best_checkpoint
    at = f" ({quoted(path, 80)})" if path else ""
    return (
        f"Go on from the weights of epoch {best.epoch}{at}, the best so far by {title(signal)}, not from the last ones"
    )
