"""The findings: ranked causes with their symptoms below them, then what is only worth knowing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from lightning_diag.findings import Evidence, Finding
from lightning_diag.report.document import Block, Bullets, Cause, Item, Paragraph
from lightning_diag.report.view import View

_JOINT = re.compile(r"(: |, )")
SHORTEST = 12
"""Characters of a part of a sentence that is recognised as said before; shorter ones recur by chance."""
_GAP = re.compile(r"\d+ points \(\d+–\d+\)")
"""A gap with its interval: a symptom that gives one which was given has nothing to add."""
_WORDS = re.compile(r"[^\w%./]+")


def ranked_causes(view: View) -> tuple[Block, ...]:
    """One block per cause, most important first; a healthy run only has the list of things to know."""
    causes = view.diagnosis.causes
    blocks: list[Block] = [cause(finding, rank, view) for rank, finding in enumerate(causes, 1)]
    known = [f for f in view.diagnosis.findings if f not in causes and _root(f, view) not in causes]
    if known and causes:
        blocks.append(Paragraph(text="", lead="Worth knowing"))
    if known:
        blocks.append(Bullets(items=tuple(_known(f) for f in known)))
    return tuple(blocks)


def _root(finding: Finding, view: View) -> Finding:
    """The finding at the end of the chain of explanations; itself where nothing explains it."""
    while finding.explained_by is not None:
        cause = view.diagnosis.finding(finding.explained_by)
        if cause is None:
            return finding
        finding = cause
    return finding


def _known(finding: Finding) -> Item:
    """A thing to know in two sentences: what it is, and the one step most worth taking."""
    advice = [f"Do: {finding.actions[0]}"] if finding.actions else []
    return Item(lead=_label(finding), text=" ".join(map(sentence, (finding.summary, *advice))))


def _label(finding: Finding) -> str:
    """``Target missed · LD208 · info:``; its title would say what the summary says."""
    return f"{sentence(words(finding.name)).rstrip('.')} · {finding.code} · {finding.severity}:"


def cause(finding: Finding, rank: int, view: View) -> Cause:
    """A finding with everything a reader needs to act on it."""
    symptoms = (f for f in view.diagnosis.findings if f is not finding and _root(f, view) is finding)
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
        seen="" if in_verdict else sentence(finding.summary),
        speaks_for=facts,
        against=clauses(_merged(_new(finding.against, " ".join(finding.actions)))),
        why=sentence(finding.why),
        actions=tuple(sentence(a) for a in _not_advised(finding, view)),
        next_test=sentence(finding.next_test),
        symptoms=_symptoms(finding, symptoms),
    )


def _not_advised(finding: Finding, view: View) -> tuple[str, ...]:
    """The advice that no cause before this one has given; all of it where nothing would be left."""
    before = itertools.takewhile(lambda cause: cause is not finding, view.diagnosis.causes)
    said = {action for cause in before for action in cause.actions}
    return tuple(action for action in finding.actions if action not in said) or finding.actions


PREFIXES = ("not excluded: ", "not verified: ")


def _merged(texts: list[str]) -> list[str]:
    """``not excluded: a``, ``not excluded: b`` as ``not excluded: a``, ``b``."""
    said: set[str] = set()
    merged = []
    for text in texts:
        prefix = next((p for p in PREFIXES if text.startswith(p)), "")
        merged.append(text.removeprefix(prefix) if prefix in said else text)
        said |= {prefix} if prefix else set()
    return merged


def _symptoms(cause: Finding, symptoms: Iterable[Finding]) -> tuple[Item, ...]:
    """The findings below a cause, without the counts that it or one above them has given."""
    said = _plain(" ".join((cause.summary, *(fact.text for fact in cause.evidence))))
    items = []
    for finding in symptoms:
        head, _, tail = finding.summary.partition(": ")
        repeated = any(len(part) >= SHORTEST and _plain(part) in said for part in tail.split(", "))
        parts = (head if repeated else finding.summary, clauses(_new(finding.evidence, finding.summary)))
        text = " ".join(sentence(part) for part in parts)
        gaps = _GAP.findall(text)
        known = bool(gaps) and all(_plain(gap) in said for gap in gaps)
        items.append(Item(lead=_label(finding), text="As above." if known else text))
        said += " " + _plain(" ".join((finding.summary, *parts)))
    return tuple(items)


def _new(evidence: tuple[Evidence, ...], summary: str) -> list[str]:
    """Texts of the evidence without those, and without the ends of those, that the summary or an earlier text says."""
    said, kept = _plain(summary), []
    for fact in evidence:
        prefix = next((p for p in PREFIXES if fact.text.startswith(p)), "")
        text = _without_said_end(fact.text.removeprefix(prefix), said)
        own = _plain(text)
        if own and own not in said:
            kept.append(prefix + text)
            said += " " + _plain(prefix + text)
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


def sentence(text: str) -> str:
    """``text`` with a full stop and a capital first letter; code, numbers, and names before a number stay as they are."""
    text = text.strip()
    if not text:
        return ""
    first = text[0].upper() if re.match(r"(?!k-)[a-z]+(?:$|[ ,:;-])(?!\d+/)", text) else text[0]
    return f"{first}{text[1:]}{'' if text[-1] in '.!?:…' else '.'}"
