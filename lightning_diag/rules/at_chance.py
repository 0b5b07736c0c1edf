"""What validation at chance looks like in the record."""

from __future__ import annotations

import math

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory
from lightning_diag.rules.chance import chance
from lightning_diag.rules.labels import labels_by_chance
from lightning_diag.rules.reading import (
    ALPHA,
    SIGN,
    above_trivial,
    best_count,
    classes,
    counts,
    final_count,
    trivial_loss,
    trivial_rate,
)
from lightning_diag.words import number, of, p, percent


def chance_evidence(history: RunHistory) -> tuple[Evidence, ...]:
    """Validation accuracy and loss beside those of an answer that ignores the input; of lines, which have no class, the tokens."""
    if history.context.task == "ctc":
        return _tokens(history)
    out = []
    last, best, rate = final_count(history, "val"), best_count(history, "val"), trivial_rate(history)
    if last and best and rate:
        p_value = statistics.binomial(last, rate, "greater")
        text = f"validation {of(last)} is not better than chance ({chance(history)}; {p(p_value)}){_at_best(history)}"
        out.append(Evidence(signal="val/acc", text=text, observed=last.rate, expected=rate, p_value=p_value))
    by_chance = labels_by_chance(history, "val") if history.context.task == "multilabel" else None
    if by_chance is not None:
        text = f"no validation label is answered better than by chance ({p(by_chance)}, corrected for the number of labels)"
        out.append(Evidence(signal="val/classes", text=text, observed=by_chance, expected=ALPHA, p_value=by_chance))
    loss, trivial = history.series("val/loss").finite, trivial_loss(history)
    if len(loss) and trivial:
        known = f" = ln {classes(history)}" if classes(history) and abs(trivial - _ln(history)) < 1e-9 else ""
        text = f"validation loss {number(loss.values[-1])} against {number(trivial)}{known} for an answer that ignores the input"
        out.append(Evidence(signal="val/loss", text=text, observed=loss.values[-1], expected=trivial))
    return tuple(out)


def _tokens(history: RunHistory) -> tuple[Evidence, ...]:
    out = []
    errors, ratio = history.series("ctc/val/ter").finite, history.series("ctc/val/loss_ratio").finite
    if len(errors):
        last, best = errors.values[-1], min(errors.values)
        at_best = f", {percent(best)} at best" if best < last else ""
        text = f"validation ends with a token error rate of {percent(last)}{at_best}, and an answer without a token has 100 %"
        out.append(Evidence(signal="ctc/val/ter", text=text, observed=last, expected=1.0))
    if len(ratio):
        text = f"validation loss {number(ratio.values[-1])} of the trivial loss"
        out.append(Evidence(signal="ctc/val/loss_ratio", text=text, observed=ratio.values[-1], expected=1.0))
    return tuple(out)


def _at_best(history: RunHistory) -> str:
    """The best evaluation, where it was better than the last, with how sure it is to be above chance."""
    best, last, looks = best_count(history, "val"), final_count(history, "val"), len(counts(history, "val"))
    if best is None or last is None or best[1].rate <= last.rate:
        return ""
    p_value = above_trivial(history, "val")
    sure = (
        f", {p(p_value)} as the best of {looks} recorded evaluations"
        if p_value is not None and sign_of_learning(history)
        else ""
    )
    return f", {of(best[1])} at best (epoch {best[0]}{sure})"


def sign_of_learning(history: RunHistory) -> Evidence | None:
    """The best evaluation, where it would pass for better than chance had it been the only one; else None."""
    lines = history.context.task == "ctc"
    best, rate = best_count(history, "val"), None if lines else trivial_rate(history)
    p_value = statistics.binomial(best[1], rate, "greater") if best is not None and rate and rate < 1 else 1.0
    if best is None or p_value >= SIGN:
        return None
    text = f"alone, {of(best[1])} in epoch {best[0]} would be better than chance ({p(p_value)}): something may have been learned there"
    return Evidence(signal="val/acc", text=text, epoch=best[0], observed=best[1].rate, expected=rate, p_value=p_value)


def _ln(history: RunHistory) -> float:
    return math.log(classes(history) or 1)


def what_training_did(history: RunHistory) -> str:
    """How well training went, as a clause."""
    loss = history.series("train/loss").finite
    if len(loss):
        return f"the training loss fell to {number(loss.values[-1])}"
    count = final_count(history, "probe") or final_count(history, "train")
    return f"training reached {of(count)}" if count else "training improved"
