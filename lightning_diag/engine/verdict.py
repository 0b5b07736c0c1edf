"""The first line of the report: right, or that nothing is established."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_diag.engine.failures import failures
from lightning_diag.findings import Clear, Finding, NotChecked
from lightning_diag.history import CaptureFacts, RunHistory
from lightning_diag.rules.falls import best
from lightning_diag.rules.no_end import NO_END, last_written, unended
from lightning_diag.words import capital, listed, number, of, title

LIKELY = 0.5
"""Below this confidence the first finding is offered as a suspicion, not stated."""
HOW = "How to hand them over (`extractor=`) stands under “Not checked”."
"""Where the report says what to do about predictions that were not found."""
OWN = "the extractor "
"""Begin of the reason why no predictions were found, where the user's own function gave none."""
CANNOT_TELL = "cannot tell"
"""Verdict of a comparison with a checkpoint that could not be made."""
FEW = 10
"""Validation samples below which none may be right by chance in a run without a fault."""
ALL_WRONG = 0.9
"""Token error rate at which lines are as good as unread."""


def verdict(
    history: RunHistory, findings: Sequence[Finding], clear: Sequence[Clear], unchecked: Sequence[NotChecked]
) -> str:
    """A few sentences about the whole run; the last one where the record has no end."""
    said = _judged(history, findings, clear, unchecked)
    return f"{said} {capital(NO_END)}; {last_written(history)}." if unended(history) else said


def _judged(
    history: RunHistory, findings: Sequence[Finding], clear: Sequence[Clear], unchecked: Sequence[NotChecked]
) -> str:
    causes = [f for f in findings if f.severity != "info" and f.explained_by is None]
    if not history.epochs and not causes:
        return "Nothing can be said: no epoch was finished and nothing was measured."
    if not clear and not findings:
        return "Nothing can be said: none of the checks had the signals it needs."
    if not causes:
        return _healthy(history, findings, clear, unchecked)
    first = causes[0]
    opening = first.summary if _carried(first) else f"Nothing is established. A suspicion: {_lowered(first.summary)}"
    unfound = not_found(history.context.capture)
    return " ".join(part for part in (opening, _others(causes[1:]), unfound, unfound and how(history)) if part)


def not_found(capture: Sequence[CaptureFacts]) -> str:
    """In which steps no predictions were found, and what was not judged for it; empty where none are missing."""
    missing = [facts.stage for facts in capture if facts.remedy]
    if not missing:
        return ""
    judged = {
        (True, True): "accuracy, classes and the gap between training and validation were",
        (True, False): "training accuracy and the gap to validation were",
        (False, True): "validation accuracy, classes and the gap to training were",
        (False, False): "accuracy there was",
    }
    where = listed([_step(stage) for stage in missing])
    what = judged["train" in missing, "val" in missing]
    return f"No predictions that can be counted were found in {where}, so that {what} not judged."


def how(history: RunHistory) -> str:
    """Where it stands how to hand predictions over; of a function that was to do that, why it did not, each reason once."""
    reasons: dict[str, str] = {}
    for facts in history.context.capture:
        if facts.remedy and facts.problem and facts.problem.startswith(OWN):
            reasons.setdefault(facts.problem.rpartition("first with ")[2], f"In {_step(facts.stage)} {facts.problem}.")
    return " ".join(reasons.values()) or HOW


def _step(stage: str) -> str:
    name, _, loader = stage.partition(":")
    return f"{'training' if name == 'train' else 'validation'}_step{f' of loader {loader}' if loader else ''}"


def _carried(finding: Finding) -> bool:
    return finding.claim != "not established" and finding.confidence >= LIKELY


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence


def _others(causes: Sequence[Finding]) -> str:
    """The second cause by its title, further ones as a number."""
    if not causes:
        return ""
    more = f", and {len(causes) - 1} more" if len(causes) > 1 else ""
    return f"Also: {causes[0].title.rstrip('.')} ({causes[0].code}){more}."


def _healthy(
    history: RunHistory, findings: Sequence[Finding], clear: Sequence[Clear], unchecked: Sequence[NotChecked]
) -> str:
    best = _best_text(history)
    known = f" Good to know: {findings[0].title.rstrip('.')}." if findings else ""
    looked = f"{len(clear)} check{'' if len(clear) == 1 else 's'} found nothing"
    unseen = f", {len(unchecked)} could not be made" if unchecked else ""
    unfound = not_found(history.context.capture)
    parts = listed([failure.name for failure in failures(history.context.notes)])
    failed = f"{capital(parts)} failed and was switched off; the error stands under “Not checked”." if parts else ""
    untold = _untold(history)
    if unfound or failed or untold:
        said = (failed, untold, unfound, unfound and how(history), "Of the rest nothing is wrong")
        opening = " ".join(part for part in said if part)
    elif _none_right(history):
        opening = "No check found a cause, but hardly anything is right in validation"
    else:
        opening = "Nothing is wrong that was looked for"
    return f"{opening}: {best}{looked}{unseen}.{known}"


def _untold(history: RunHistory) -> str:
    """That the comparison with a checkpoint was asked for and could not be made; the reason stands with the weights."""
    pretrain = history.context.pretrain
    if pretrain is None or not pretrain.checkpoint or pretrain.verdict != CANNOT_TELL:
        return ""
    return "Whether the pretrained weights are in the model could not be told; why stands under “Pretrained weights”."


def _none_right(history: RunHistory) -> bool:
    """Whether not one validation sample was ever right; of lines, which are long, whether as many tokens are wrong as there are."""
    counted = best(history)
    if counted is None or counted[1].k or counted[1].n < FEW:
        return False
    errors = history.series("ctc/val/ter").finite.values
    return history.context.task != "ctc" or bool(errors and min(errors) >= ALL_WRONG)


def _best_text(history: RunHistory) -> str:
    counted = best(history)
    if counted and history.context.task == "ctc":
        return f"{of(counted[1])} of the validation lines were decoded without an error in epoch {counted[0]}; "
    if counted:
        what = " exact match" if history.context.task == "multilabel" else ""
        return f"validation reached {of(counted[1])}{what} in epoch {counted[0]}; "
    monitored = history.monitored()
    found = history.series(monitored[0]).best(monitored[1]) if monitored else None
    if not monitored or not found:
        return ""
    if monitored[0] == "val/acc" and 0 <= found[1] <= 1:
        return f"validation reached {100 * found[1]:.3g} % in epoch {found[0]}; "
    return f"the best {title(monitored[0], history.context.task)} was {number(found[1])} in epoch {found[0]}; "
