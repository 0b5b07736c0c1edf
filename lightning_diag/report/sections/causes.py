"""The findings: ranked causes with their symptoms below them, then what is only worth knowing."""

from __future__ import annotations

import re

from lightning_diag.findings import Evidence, Finding
from lightning_diag.report.document import Block, Bullets, Cause, Item, Paragraph
from lightning_diag.report.view import View

ACTIONS_IN_PLACE = 2
"""Advice printed with a cause; what comes after the two most useful steps stands in the plan, so that none is said twice."""

_WORDS = re.compile(r"[^\w%./]+")


def ranked_causes(view: View) -> tuple[Block, ...]:
    """One block per cause, most likely first; a healthy run only has the list of things to know."""
    causes = view.diagnosis.causes
    blocks: list[Block] = [cause(finding, rank, view) for rank, finding in enumerate(causes, 1)]
    known = [f for f in view.diagnosis.findings if f not in causes and not _is_below(f, causes)]
    if known and causes:
        blocks.append(Paragraph(text="", lead="Worth knowing"))
    if known:
        blocks.append(Bullets(items=tuple(_known(f) for f in known)))
    return tuple(blocks)


def _is_below(finding: Finding, causes: tuple[Finding, ...]) -> bool:
    return any(finding.explained_by == cause.code for cause in causes)


def _known(finding: Finding) -> Item:
    """A finding in one line: an ``info``, or the symptom of one."""
    parts = [finding.summary, *_new(finding.evidence, finding.summary)]
    parts += [f"{action}" for action in finding.actions[:ACTIONS_IN_PLACE]]
    return Item(lead=f"{finding.title} · {finding.code}:", text=" ".join(sentence(part) for part in parts))


def cause(finding: Finding, rank: int, view: View) -> Cause:
    """A finding with everything a reader needs to act on it."""
    symptoms = (f for f in view.diagnosis.findings if f.explained_by == finding.code)
    return Cause(
        rank=rank,
        code=finding.code,
        name=finding.name,
        title=finding.title,
        severity=finding.severity,
        claim=finding.claim,
        confidence=finding.confidence,
        seen=(sentence(finding.summary), *(sentence(t) for t in _new(finding.evidence, finding.summary))),
        against=tuple(sentence(e.text) for e in finding.against),
        why=sentence(finding.why),
        actions=tuple(sentence(a) for a in finding.actions[:ACTIONS_IN_PLACE]),
        next_test=sentence(finding.next_test),
        symptoms=tuple(_symptom(f) for f in symptoms),
    )


def _symptom(finding: Finding) -> Item:
    parts = (finding.summary, *_new(finding.evidence, finding.summary))
    return Item(
        lead=f"{finding.title} · {finding.code} · {finding.severity}:", text=" ".join(sentence(part) for part in parts)
    )


def _new(evidence: tuple[Evidence, ...], summary: str) -> list[str]:
    """Texts of the evidence that the summary, or an earlier text, does not already say."""
    said, kept = _plain(summary), []
    for fact in evidence:
        text = _plain(fact.text)
        if text and text not in said:
            kept.append(fact.text)
            said += " " + text
    return kept


def _plain(text: str) -> str:
    return _WORDS.sub(" ", text.lower()).strip(" .")


def sentence(text: str) -> str:
    """``text`` with a capital first letter and a full stop; code and numbers at its start stay as they are."""
    text = text.strip()
    if not text:
        return ""
    first = text[0].upper() if re.match(r"[a-z]+[ ,:;]", text) else text[0]
    return f"{first}{text[1:]}{'' if text[-1] in '.!?:…' else '.'}"
