"""From a RunHistory to a Diagnosis: preconditions, isolation, ranking of causes, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_diag.engine.claims import not_established
from lightning_diag.engine.failures import failures
from lightning_diag.engine.needs import missing
from lightning_diag.engine.ranking import rank
from lightning_diag.engine.tasks import applies, other_task
from lightning_diag.engine.thresholds import configured
from lightning_diag.engine.verdict import verdict
from lightning_diag.findings import Clear, Crashed, Diagnosis, Finding, NotChecked, Outcome
from lightning_diag.history import RunHistory
from lightning_diag.rules import RULES
from lightning_diag.rules.base import CannotTellError, Rule

__all__ = ["diagnose"]


def diagnose(
    history: RunHistory,
    rules: Sequence[Rule] | None = None,
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
) -> Diagnosis:
    """Judge a run.

    Args:
        history: the record; it is not changed.
        rules: the rules to ask; all registered ones with their defaults when None.
        thresholds: code -> field -> value, laid over the rules.

    Returns:
        What was found, most important first, what is not established, what is clear and what could not be checked.

    Raises:
        ConfigError: for a threshold of an unknown rule or field, or one that is no number.
    """
    asked = configured([cls() for cls in RULES] if rules is None else list(rules), thresholds or {})
    applicable = [rule for rule in asked if applies(rule, history)]
    outcomes = [_ask(rule, history) for rule in applicable]
    findings, dismissed = rank([o for o in outcomes if isinstance(o, Finding)])
    looked = (*(o for o in outcomes if isinstance(o, Clear)), *dismissed)
    suspected = _suspected(findings)
    clear = tuple(o for o in looked if o.code not in suspected)
    unchecked = (
        *(o for o in outcomes if isinstance(o, NotChecked)),
        *(
            NotChecked(code=rule.code, name=rule.name, reason=why)
            for rule in asked
            if (why := other_task(rule, history))
        ),
        *(NotChecked(code=o.code, name=o.name, reason=suspected[o.code]) for o in looked if o.code in suspected),
    )
    return Diagnosis(
        verdict=verdict(history, findings, clear, unchecked),
        findings=findings,
        not_established=not_established(history),
        clear=clear,
        not_checked=unchecked,
        crashed=(*failures(history.context.notes), *(o for o in outcomes if isinstance(o, Crashed))),
        thresholds={rule.code: rule.thresholds() for rule in applicable if rule.thresholds()},
    )


def _suspected(findings: Sequence[Finding]) -> dict[str, str]:
    """Codes that a finding holds possible, with the reason why they are not called clear."""
    return {
        code: f"no sign of its own was seen, and {finding.code} {finding.name} holds it possible"
        for finding in findings
        for code in finding.suspects
    }


def _ask(rule: Rule, history: RunHistory) -> Outcome:
    """One rule's answer; whatever it raises stays here."""
    reason = missing(rule, history)
    if reason:
        return NotChecked(code=rule.code, name=rule.name, reason=reason)
    try:
        found = rule.check(history)
        return found or Clear(code=rule.code, name=rule.name, text=rule.clear_text(history))
    except CannotTellError as error:
        return NotChecked(code=rule.code, name=rule.name, reason=str(error))
    except Exception as error:  # noqa: BLE001  (a rule that raises must never lose the report)
        return Crashed(code=rule.code, name=rule.name, error=f"{type(error).__name__}: {error}")
