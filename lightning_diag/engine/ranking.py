"""Causes before symptoms, contradictions resolved, most useful first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lightning_diag.findings import Clear, Finding, Severity

COST: Mapping[Severity, float] = {"error": 3.0, "warning": 1.0, "info": 0.05}
"""What a finding costs the user if it is true: an error spoils the run, a warning costs part of it, info is free.

Only the order matters: an error that is as likely as not (1.5) comes before a sure warning (1.0), and any number of
infos that a run can have stays below one unlikely warning.
"""
OUTCOMES = frozenset({"LD208"})
"""What a run came out with against what was asked of it: never a cause, however sure it is."""
UNFINISHED = frozenset({"LD205"})
"""A run that has not come to its end: to let it is tried before anything is changed, so that it leads what is worth knowing."""
EXPLAINS_FROM = 0.5
"""A cause takes over its symptoms only when it is more likely true than not."""


def rank(findings: Sequence[Finding]) -> tuple[tuple[Finding, ...], tuple[Clear, ...]]:
    """Findings in the order to read them, and those that a better supported finding rules out.

    A finding that another one explains follows its cause and becomes ``info``: there is nothing to act on besides the
    cause. The order of causes is by expected benefit of acting: cost times confidence, plus that of the symptoms which
    go away with it.
    """
    kept, dismissed = _without_contradictions(findings)
    linked = _outweighed(_explained(kept))
    return tuple(_in_order(linked)), tuple(dismissed)


def benefit(finding: Finding) -> float:
    """Expected benefit of acting on one finding: what it costs times how likely it is."""
    return COST[finding.severity] * finding.confidence


def _support(finding: Finding) -> tuple[float, float, str]:
    return (-finding.confidence, -COST[finding.severity], finding.code)


def _without_contradictions(findings: Iterable[Finding]) -> tuple[list[Finding], list[Clear]]:
    """Best supported first; what contradicts something already kept is dismissed, with the reason."""
    kept: list[Finding] = []
    dismissed: list[Clear] = []
    for finding in sorted(findings, key=_support):
        winner = next((k for k in kept if finding.code in k.excludes or k.code in finding.excludes), None)
        if winner is None:
            kept.append(finding)
        else:
            text = f"signs of it are there, and {winner.code} {winner.name} fits them better"
            dismissed.append(Clear(code=finding.code, name=finding.name, text=text))
    return kept, dismissed


def _explained(findings: list[Finding]) -> list[Finding]:
    """Each finding with its cause, where another finding names it as a symptom; no circles.

    What is only worth knowing (``info``) is no cause of what has to be acted on: hiding the second behind the first
    would leave nothing to do in a run that is ill.
    """
    by_benefit = sorted(findings, key=lambda f: (-benefit(f), f.code))
    loud = {f.code for f in findings if f.severity != "info"}
    cause_of: dict[str, str] = {}
    for cause in by_benefit:
        if cause.confidence < EXPLAINS_FROM:
            continue
        for code in cause.explains:
            if cause.severity == "info" and code in loud:
                continue
            if code not in cause_of and code != cause.code and not _reaches(cause_of, cause.code, code):
                cause_of[code] = cause.code
    return [_as_symptom(f, cause_of[f.code]) if f.code in cause_of else f for f in findings]


def _reaches(cause_of: Mapping[str, str], start: str, goal: str) -> bool:
    """Whether following causes upwards from ``start`` meets ``goal``."""
    while start in cause_of:
        start = cause_of[start]
        if start == goal:
            return True
    return False


def _as_symptom(finding: Finding, cause: str) -> Finding:
    return replace(finding, explained_by=cause, severity="info")


def _outweighed(findings: list[Finding]) -> list[Finding]:
    """Findings that need no action beside another one become ``info``; that one does not explain them."""
    beside = {code for finding in findings if finding.confidence >= EXPLAINS_FROM for code in finding.outweighs}
    return [replace(f, severity="info") if f.code in beside else f for f in findings]


def _in_order(findings: list[Finding]) -> list[Finding]:
    """Causes by benefit, each followed by its symptoms (and theirs); a missed target, which is no cause, after them.

    Of what is only worth knowing, that the run was not at its end comes first.
    """
    children: dict[str | None, list[Finding]] = {}
    for finding in findings:
        children.setdefault(finding.explained_by, []).append(finding)

    def total(finding: Finding) -> float:
        return benefit(finding) + sum(total(child) for child in children.get(finding.code, []))

    def place(finding: Finding) -> tuple[bool, bool, bool, float, str]:
        info, code = finding.severity == "info", finding.code
        leads = info and finding.explained_by is None and code in UNFINISHED
        return info, code in OUTCOMES, not leads, -total(finding), code

    def walk(parent: str | None) -> list[Finding]:
        ordered = sorted(children.get(parent, []), key=place)
        return [f for child in ordered for f in (child, *walk(child.code))]

    return walk(None)
