"""Which rules a task has no use for, and why a report does not judge them."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule

REASONS: Mapping[str, str] = {
    "multilabel": "made for one answer per sample, and a sample has several labels here",
    "dense": "the positions of one sample depend on each other, so that they do not count as so many samples",
    "regression": "made for class labels, and a regression has none",
    "soft": "the targets are shares of classes, not one label per sample",
    "mixup": "the samples are mixtures, without one label each",
    "other": "made for class labels, and the loss compares none",
}
"""Why a rule does not apply to a task; CTC has rules of its own for what it leaves out."""
CTC = ("ctc",)


def applies(rule: Rule, history: RunHistory) -> bool:
    """Whether the rule is about tasks like that of the run; where it is not known, every rule is asked."""
    task = history.context.task
    return not rule.tasks or task is None or task in rule.tasks


def other_task(rule: Rule, history: RunHistory) -> str:
    """Why a rule that one might look for does not apply; empty where it does, and for what concerns CTC alone."""
    return "" if applies(rule, history) or rule.tasks == CTC else REASONS.get(history.context.task or "", "")
