"""What a rule needs, and the sentence for a user when it is not there."""

from __future__ import annotations

from lightning_diag.engine.reasons import NO_CTC, reason, usual
from lightning_diag.engine.tasks import CTC
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import NOT_IN_LOGS, Rule

FROM_LOGS = ("lr", "train/loss", "val/loss", "train/acc", "val/acc", "target", "baseline", "classes", "data.train.size")
"""Needs that the log of another tool can meet."""
UNCOUNTED = {
    "stage:val": "the accuracies of the log are no counts: they need the size of the validation set (--n-val) and digits enough to tell them",
    "stage:train": "the accuracies of the log are no counts: they need the size of the training set (--n-train) and digits enough to tell them",
}


def missing(rule: Rule, history: RunHistory) -> str | None:
    """Why ``rule`` cannot look at ``history``; None when everything it needs is there."""
    if not history.epochs and rule.needs and not all(need.startswith("pretrain.") for need in rule.needs):
        return "no epoch was finished"  # (pretrained weights are judged before the first update, and may end the run there)
    unheard = history.context.task is None and history.context.ctc is None and not history.foreign
    if rule.tasks == CTC and unheard and not any(name.startswith("ctc/") for name in history.signals()):
        return NO_CTC
    for need in rule.needs:
        if not any(_present(option, history) for option in need.split("|")):
            return _reason_in_log(need, history) if history.foreign else reason(need.split("|")[0], history)
    return _too_short(rule, history)


def _uncounted(need: str, history: RunHistory) -> str:
    """Why an accuracy of a log was not counted: it is not in the log, or it is no count."""
    stage = need.removeprefix("stage:")
    if len(history.series(f"{stage}/acc")):
        return UNCOUNTED[need]
    return f"the log holds no {'training' if stage == 'train' else 'validation'} accuracy"


def _reason_in_log(need: str, history: RunHistory) -> str:
    """Why a need is not met by a log: it lacks a column, a size that the user can give, or what no log has."""
    options = need.split("|")
    counted = next((_uncounted(option, history) for option in options if option in UNCOUNTED), None)
    plain = next((option for option in options if option in FROM_LOGS), None)
    return counted or (usual(plain) if plain else NOT_IN_LOGS)


def _present(need: str, history: RunHistory) -> bool:
    if need.startswith("stage:"):
        return bool(history.counts(need[6:]))
    if need.startswith("classes:"):
        return any(record.classes for _, record in history.stage(need[8:]))
    if "/" in need or need == "lr":
        return bool(len(history.series(need)))
    return fact(history, need) is not None


def fact(history: RunHistory, path: str) -> object | None:
    """The fact at a dotted path of the context; None when it, or anything on the way, is absent or empty."""
    value: object = history.context
    for name in path.split("."):
        value = getattr(value, name)
        if value is None or value in ((), ""):
            return None
    return value


def _too_short(rule: Rule, history: RunHistory) -> str | None:
    if not rule.needs or rule.min_epochs <= 1:
        return None
    options = rule.needs[0].split("|")
    have = max(_length(option, history) for option in options)
    if have >= rule.min_epochs:
        return None
    times = "once" if have == 1 else f"{have} times"
    return f"measured {times}, at least {rule.min_epochs} evaluations are needed"


def _length(need: str, history: RunHistory) -> int:
    if need.startswith(("stage:", "classes:")):
        return len(history.stage(need.split(":")[1]))
    if "/" in need or need == "lr":
        return len(history.series(need))
    return len(history.epochs)
