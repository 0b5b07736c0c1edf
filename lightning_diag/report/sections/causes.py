"""The findings: ranked causes with their symptoms below them, then what is only worth knowing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_diag.findings import Evidence, Finding
from lightning_diag.report.document import Block, Bullets, Cause, Item, Paragraph
from lightning_diag.report.view import View

ACTIONS_IN_PLACE = 2
"""Advice printed with a cause; what comes after the two most useful steps stands in the plan, so that none is said twice."""

_JOINT = re.compile(r"(: |, )")
SHORTEST = 12
"""Characters of a part of a sentence that is recognised as said before; shorter ones recur by chance."""
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
    """A thing to know in two sentences: what it is, and the one step most worth taking."""
    return Item(lead=_label(finding), text=" ".join(map(sentence, (finding.summary, *finding.actions[:1]))))


def _label(finding: Finding) -> str:
    """``Target missed · LD208 · info:``; its title would say what the summary says."""
    return f"{sentence(words(finding.name)).rstrip('.')} · {finding.code} · {finding.severity}:"


def cause(finding: Finding, rank: int, view: View) -> Cause:
    """A finding with everything a reader needs to act on it."""
    symptoms = (f for f in view.diagnosis.findings if f.explained_by == finding.code)
    facts = clauses(_new(finding.evidence, finding.summary))
    in_verdict = _plain(finding.summary) in _plain(view.diagnosis.verdict)
    return Cause(
        rank=rank,
        code=finding.code,
        name=finding.name,
        title=finding.title,
        severity=finding.severity,
        claim=finding.claim,
        confidence=finding.confidence,
        seen=(facts or "As the first line says.") if in_verdict else sentence(finding.summary),
        speaks_for="" if in_verdict else facts,
        against=clauses(_new(finding.against, "")),
        why=sentence(finding.why),
        actions=tuple(sentence(a) for a in finding.actions[:ACTIONS_IN_PLACE]),
        next_test=sentence(finding.next_test),
        symptoms=tuple(_symptom(f) for f in symptoms),
    )


def _symptom(finding: Finding) -> Item:
    parts = (finding.summary, clauses(_new(finding.evidence, finding.summary)))
    return Item(lead=_label(finding), text=" ".join(sentence(part) for part in parts))


def _new(evidence: tuple[Evidence, ...], summary: str) -> list[str]:
    """Texts of the evidence without those, and without the ends of those, that the summary or an earlier text says."""
    said, kept = _plain(summary), []
    for fact in evidence:
        text = _without_said_end(fact.text, said)
        if _plain(text) and _plain(text) not in said:
            kept.append(text)
            said += " " + _plain(text)
    return kept


def _without_said_end(text: str, said: str) -> str:
    """``gap 30 points: training 92/96, validation 19/29`` without the counts, where they were said."""
    parts = _JOINT.split(text)
    while len(parts) > 2 and len(parts[-1]) >= SHORTEST and _plain(parts[-1]) in said:
        del parts[-2:]
    return "".join(parts)


def clauses(texts: list[str]) -> str:
    """Facts one after another: ``a fall of 55 points; learning rate 5e-4.``."""
    return sentence("; ".join(text.strip().rstrip(".;") for text in texts))


def _plain(text: str) -> str:
    return _WORDS.sub(" ", text.lower()).strip(" .")


def words(kebab: str) -> str:
    """``ctc-blank-collapse`` as ``CTC blank collapse``."""
    return re.sub(r"\bctc\b", "CTC", kebab.replace("-", " ").replace("relu", "ReLU"))


def plain_in(text: str, others: Iterable[str]) -> bool:
    """Whether one of ``others`` already says ``text``, capitals and punctuation aside."""
    return any(_plain(text) in _plain(other) for other in others)


def sentence(text: str) -> str:
    """``text`` with a full stop and a capital first letter; code, numbers, and names before a number stay as they are."""
    text = text.strip()
    if not text:
        return ""
    first = text[0].upper() if re.match(r"(?!k-)[a-z]+(?:$|[ ,:;-])(?!\d+/)", text) else text[0]
    return f"{first}{text[1:]}{'' if text[-1] in '.!?:…' else '.'}"
