"""In which order to act: which weights to go on with, which cause to take first, which can wait for the next run.

The steps themselves stand with their causes, so that none is said twice.
"""

from __future__ import annotations

import re

from lightning_diag.findings import Finding
from lightning_diag.history import EpochRecord
from lightning_diag.report.document import Block, Bullets, Item
from lightning_diag.report.sections.causes import sentence, words
from lightning_diag.report.view import View
from lightning_diag.rules.best_weights import best_weights, start_is_best
from lightning_diag.rules.reading import learned
from lightning_diag.words import listed

FACTS = re.compile(r"LD(30[4-7]|40[2-589]|410|50[1258]|6\d\d|7\d\d)")
"""Findings about data, weights and evaluation, which hold whatever the course of this run was."""


KEEP = "keep the checkpoint"
"""Advice of a cause that knows better than the curve which weights to go on with."""
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
    """Which weights to go on with, when the last ones are not the best and no cause says it."""
    causes, weights = view.diagnosis.causes, best_weights(view.history)
    if weights is None or not causes or FACTS.match(causes[0].code) or causes[0].code in MEANINGLESS:
        return ""
    if learned(view.history) is False:  # weights that are no better than chance are nothing to go on from
        return ""
    if any(weights in action or KEEP in action for finding in causes for action in finding.actions):
        return ""
    last_is_best = (
        view.best is not None and view.final is not None and _value(view, view.best) == _value(view, view.final)
    )
    return "" if last_is_best and not start_is_best(view.history) else f"Go on from {weights}, not from the last ones"


def _value(view: View, record: EpochRecord) -> float | None:
    return record.values.get(view.metric[0])
