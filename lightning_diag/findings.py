"""The frozen values of judgement: evidence, findings, and the other answers that a rule can give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["info", "warning", "error"]
Claim = Literal["established", "likely", "not established"]
SCHEMA_VERSION = 1
SWITCHED_OFF = " failed and was switched off: "
"""Between the name of a part of the observer and its error, in the note that it leaves when it fails."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One observed fact.

    Attributes:
        signal: name of the signal (``val/loss``) or fact (``data.overlap``) it was read from.
        text: one sentence or clause with numbers, as the report prints it.
        epoch: where it was observed; None for facts of the whole run.
        observed, expected: the two numbers that were compared, where there are two.
        p_value: of the test that compared them, where one was made.
    """

    signal: str
    text: str
    epoch: int | None = None
    observed: float | None = None
    expected: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sickness, stated with evidence.

    Attributes:
        code: ``LDxxx``; name: the sickness in words (kebab-case), never the cure.
        severity: the cost if it is true. confidence: probability in (0, 1] that it is true, by the kind of
            its evidence (``docs/statistics.md`` lists the steps).
        claim: how far the data carry it.
        scope: ``run``, ``train``, ``val``, ``class``, ``ctc``, ``data``, ``weights`` ...
        title: short heading with the key number; summary: one sentence with numbers.
        evidence: at least one; against: what speaks against it, or what nothing recorded excludes.
        why: what it costs, one sentence. actions: in order, most useful first.
        next_test: the smallest experiment that would tell it from its look-alikes.
        explains: codes of findings that this one would cause.
        outweighs: codes of findings that it does not cause and that need no action of their own beside it (that there are
            few samples stays true, and is only worth knowing, where the labels are wrong).
        excludes: codes of findings that cannot be true at the same time; the better supported one is kept.
        suspects: codes that this finding holds possible without establishing them; they are not reported as clear.
        epoch: the epoch to look at.
    """

    code: str
    name: str
    severity: Severity
    confidence: float
    claim: Claim
    title: str
    summary: str
    evidence: tuple[Evidence, ...]
    against: tuple[Evidence, ...] = ()
    why: str = ""
    actions: tuple[str, ...] = ()
    next_test: str = ""
    scope: str = "run"
    explains: tuple[str, ...] = ()
    outweighs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    epoch: int | None = None
    explained_by: str | None = None

    def __post_init__(self) -> None:
        if not self.evidence:
            raise ValueError(f"{self.code}: a finding needs evidence")
        if not 0.0 < self.confidence <= 1.0:
            raise ValueError(f"{self.code}: confidence {self.confidence} is not in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class NotEstablished:
    """A claim that people would read out of the curves and that the data do not carry.

    Attributes:
        claim: what it would say; reason: why the data cannot tell, with numbers and p-value.
        needed: what would settle it (for example the size of validation set).
    """

    claim: str
    reason: str
    needed: str = ""


@dataclass(frozen=True, kw_only=True)
class Clear:
    """A rule that had what it needs and found nothing; ``text`` may say what was seen ("4 of 4 classes predicted")."""

    code: str
    name: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class NotChecked:
    """A rule that could not look, because."""

    code: str
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Crashed:
    """A rule that raised, or (without a code) a part of the observer that did; the report is written all the same."""

    code: str
    name: str
    error: str


Outcome = Finding | Clear | NotChecked | Crashed


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The judgement of one run, ranked.

    Attributes:
        verdict: one or two sentences, the first line of the report.
        findings: most important first; a symptom follows the cause that explains it.
        thresholds: code -> threshold field -> value used.
    """

    verdict: str
    findings: tuple[Finding, ...] = ()
    not_established: tuple[NotEstablished, ...] = ()
    clear: tuple[Clear, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    crashed: tuple[Crashed, ...] = ()
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def finding(self, code: str) -> Finding | None:
        """The finding with this code, if there is one."""
        return next((f for f in self.findings if f.code == code), None)

    @property
    def causes(self) -> tuple[Finding, ...]:
        """Findings that act on their own: warnings and errors that no other finding explains."""
        return tuple(f for f in self.findings if f.severity != "info" and f.explained_by is None)
