"""LD403: lines that have fewer frames than their targets need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import codes, facts, looks
from lightning_diag.words import of, percent


@dataclass(frozen=True, kw_only=True)
class CTCInfeasible(Rule):
    """Some lines have no path: fewer frames than tokens and repeats."""

    code: ClassVar[str] = "LD403"
    name: ClassVar[str] = "ctc-infeasible-lengths"
    needs: ClassVar[tuple[str, ...]] = ("ctc.infeasible|ctc/val/infeasible_share",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    serious: float = 0.05
    """Share of hidden lines that makes it an error: they teach nothing, and the longest lines are missing first."""
    trace: float = 0.005
    """Share of hidden lines below which it is only worth a note. Without ``zero_infinity`` one line is too many: 3 of 600
    destroyed a run in its first epoch."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        found, hidden = facts(history).infeasible, facts(history).zero_infinity
        if found is None or not found.k:
            return self._validation_only(history)
        severe = not hidden or found.rate > self.serious
        text = f"{of(found)} of the training lines, counted each time they were read, have fewer frames than they need ({NEED})"
        effect = (
            "zero_infinity hides their loss, so they teach nothing and the reported loss is too low"
            if hidden
            else "their loss is infinite, and one such line turns all weights into NaN"
        )
        return self._found(
            severity="error" if severe else "warning" if found.rate > self.trace else "info",
            title=f"{percent(found.rate)} of the training lines have too few frames",
            summary=f"{text}: {effect}.",
            evidence=(
                Evidence(signal="ctc.infeasible", text=text, observed=found.rate, expected=0.0),
                *_zeros(history),
            ),
            explains=_symptoms(found, hidden=bool(hidden)),
        )

    def _validation_only(self, history: RunHistory) -> Finding | None:
        """Lines without a path in validation alone raise its error rate and, unhidden, make its loss infinite."""
        every = looks(history)
        share = every[-1].val("infeasible_share") if every else None
        if share is None or not share > self.trace:
            return None
        return self._found(
            severity="warning",
            title=f"{percent(share)} of the validation lines have too few frames",
            summary=f"{percent(share)} of the validation lines have fewer frames than they need ({NEED}).",
            evidence=(every[-1].evidence("val", "infeasible_share", "{} of the validation lines", 0.0),),
            explains=(),
        )

    def _found(self, **seen: Any) -> Finding:
        return self.finding(
            confidence=0.97,
            claim="established",
            why="No output can be right for such a line: CTC emits one token per frame at most, and merges equal ones without a blank between.",
            actions=(
                "subsample less in time (a smaller stride), or make the input longer",
                "leave out lines with frames < tokens + equal neighbours, and log how many",
                "zero_infinity=True only as a net below that: it hides the lines, it does not train them",
            ),
            next_test="count the lines with frames < tokens + equal neighbours over the whole training set",
            scope="ctc",
            **seen,
        )


def _symptoms(found: Count, *, hidden: bool) -> tuple[str, ...]:
    """What such lines bring about: everything when the loss is infinite, errors when many are hidden."""
    if not hidden:
        return codes(101, 106, 115, 202, 401, 406, 410, 411)
    if found.rate <= 0.05:
        return ()
    return codes(115, 201, 202, 203, 204, 205, 302, 401, 406, 407, 409, 410, 411, 606, 607)


def _zeros(history: RunHistory) -> tuple[Evidence, ...]:
    """Steps without a finite loss, where there were any."""
    bad = [look for look in looks(history) if (look.train("nonfinite_losses") or 0) > 0]
    return (bad[0].evidence("train", "nonfinite_losses", "{} steps without a finite loss", 0.0),) if bad else ()


NEED = "one per token, and one for a blank between equal neighbours"
