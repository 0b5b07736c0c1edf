"""Baseline, best, final and target, each with its interval and what an exact test says."""

from __future__ import annotations

from lightning_diag.engine.claims import doubts_fall
from lightning_diag.history import Count, EpochRecord, Target
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Column, table
from lightning_diag.report.sections.heads import judged
from lightning_diag.report.sections.trivial import labels as labels_by_frequency
from lightning_diag.report.sections.trivial import positions
from lightning_diag.report.view import View, interval_text, shown
from lightning_diag.rules.best_weights import baseline_value
from lightning_diag.rules.falls import fall
from lightning_diag.rules.independence import UNKNOWN, as_samples, independent, samples
from lightning_diag.rules.no_end import unended
from lightning_diag.statistics import CUSTOMARY, best_of_bias, binomial, corrected
from lightning_diag.words import p as p_text
from lightning_diag.words import points

VOID = {
    "LD608": "The validation labels are wrong (LD608): these rates do not say how good the model is, nor which epoch is best.",
    "LD605": "Validation is the training set (LD605): these rates say how well it was memorised.",
    "LD603": "Part of validation is also in training (LD603): on new samples these rates will be lower.",
}
"""Findings after which no interval and no test of this table means what it says."""


def result(view: View) -> tuple[Block, ...]:
    """The table, and below it what picking the best of many evaluations does to the best."""
    signal, _ = view.metric
    if not signal:
        return ()
    rows = [row for row in (_baseline(view), _best(view), _final(view), _target(view)) if row]
    columns = (
        Column(""),
        Column("epoch", numeric=True),
        Column(view.title(signal), numeric=True),
        Column("95 % interval", numeric=True),
        Column("against the target" if view.history.context.target else "against the best"),
    )
    return (table(columns, rows, note=" ".join(_notes(view))),)


def _row(view: View, what: str, record: EpochRecord, remark: str) -> tuple[str, ...]:
    signal, _ = view.metric
    count = view.count(record)
    value = numbers.count(count) or shown(signal, record.values.get(signal))
    return (what, view.epoch_label(record), value, interval_text(as_samples(view.history, count)), remark)


def _baseline(view: View) -> tuple[str, ...] | None:
    baseline, (signal, _) = view.history.context.baseline, view.metric
    if baseline is None:
        return None
    count = baseline.correct if signal == "val/acc" else None
    number = baseline_value(baseline, signal)
    if number is None:
        return None
    epoch = "" if baseline.epoch is None else str(baseline.epoch)
    remark = _against_target(view, count, number)
    value = numbers.count(count) or shown(signal, number)
    return (f"baseline ({baseline.source})", epoch, value, interval_text(as_samples(view.history, count)), remark)


def _best(view: View) -> tuple[str, ...] | None:
    """The best epoch of this fit, unless it is the last one."""
    record = _best_record(view)
    if record is None or len(view.evaluated) < 2 or record is view.final:
        return None
    value, looks = record.values[view.metric[0]], len(view.evaluated)
    return _row(view, _best_word(view), record, _against_target(view, view.count(record), value, looks))


def _best_record(view: View) -> EpochRecord | None:
    return view.history.best_record(since=view.history.context.resumed_epoch)


def _best_word(view: View) -> str:
    return "best" if view.history.context.resumed_epoch is None else "best after resuming"


def _final(view: View) -> tuple[str, ...] | None:
    record = view.final
    if record is None:
        return None
    last = "last written" if unended(view.history) else "final"
    joint = f"best and {last}" if _best_word(view) == "best" else f"{_best_word(view)}, and {last}"
    best = _best_record(view)
    word = joint if best is record and len(view.evaluated) > 1 else last
    value = record.values[view.metric[0]]
    against = _against_target(view, view.count(record), value) if view.history.context.target else _against_best(view)
    same = best is not None and best is not record and best.values[view.metric[0]] == value
    return _row(
        view, word, record, "; ".join(text for text in ("as good as the best" if same else "", against) if text)
    )


def _target(view: View) -> tuple[str, ...] | None:
    target = view.history.context.target
    if target is None:
        return None
    about = "" if target.metric == view.metric[0] else f" ({view.title(target.metric)})"
    return (
        f"target{about}",
        "",
        f"{'≥' if target.mode == 'max' else '≤'} {shown(target.metric, target.value)}",
        "",
        "",
    )


def _against_target(view: View, count: Count | None, value: float, looks: int = 1) -> str:
    """A count against the target; ``looks`` evaluations were there to choose it from, which flatters it."""
    target = view.history.context.target
    if target is None or target.metric != view.metric[0]:
        return ""
    if _reached(target, value):
        count = as_samples(view.history, count)
        return "reached" if count is None else _reached_text(count, target, looks)
    count = as_samples(view.history, count)
    if count is None or count.n == 0:
        return "missed"
    p = binomial(count, target.value, "less")
    if p < CUSTOMARY:
        return f"below the target, established ({p_text(p)})"
    return f"below the target, which is not ruled out ({p_text(p)})"


def _reached(target: Target, value: float) -> bool:
    return value >= target.value if target.mode == "max" else value <= target.value


def _reached_text(count: Count, target: Target, looks: int) -> str:
    p = corrected(binomial(count, target.value, "greater"), looks)
    how = "above it is established" if p < CUSTOMARY else "above it is not established"
    chosen = f" as the best of {looks} evaluations" if looks > 1 else ""
    return f"reached; a true rate {how} ({p_text(p)}{chosen})"


def _against_best(view: View) -> str:
    """The final evaluation against the best one known, paired by sample where the record allows it."""
    found = fall(view.history) if view.metric[0] == "val/acc" else None
    if found is None:
        return ""
    if found.p_value >= CUSTOMARY and doubts_fall(
        view.diagnosis.not_established
    ):  # that section has the test and its numbers
        return f"{numbers.points(found.now.rate - found.then.rate)} against epoch {found.epoch}: not established"
    word = "established" if found.p_value < CUSTOMARY else "not established"
    how = f"paired: {found.paired.lost} lost, {found.paired.gained} gained" if found.paired else "Fisher's exact test"
    lost = numbers.points(found.now.rate - found.then.rate)
    return f"{lost} against epoch {found.epoch}: {word} ({found.chance}, {how})"


def _notes(view: View) -> list[str]:
    """How optimistic the best is, and what the comparison with the best says where the table has a target column."""
    several = view.metric[0] == "val/acc" and view.history.context.task == "multilabel"
    told = (judged(view.history), _of_labels(view) if several else "", positions(view))
    notes = [text for text in told if text]
    void = [text for code, text in VOID.items() if view.diagnosis.finding(code)][:1]
    if void:
        return [*notes, *void]
    doubted = bool(view.diagnosis.not_established)  # the section of that name says these things in full
    against = _against_best(view) if view.history.context.target else ""
    if against and not (doubted and "not established" in against):
        notes.append(f"Final: {against}.")
    count = as_samples(view.history, view.count(view.best))
    looks = len(view.evaluated)
    bias = best_of_bias(count.n, count.rate, looks) if count is not None and not doubted else 0.0
    if bias >= 0.01:
        notes.append(
            f"The best of {looks} evaluations is partly luck: by chance alone it may overstate its rate "
            f"by up to {points(bias)}."
        )
    if view.metric[0] == "val/acc" and view.count(view.best) is not None and not independent(view.history):
        notes.append(_of_positions(view))
    elif count is None and view.metric[0] == "val/acc":
        notes.append("No interval: the record does not hold how many of how many validation samples were right.")
    return notes


def _of_labels(view: View) -> str:
    """What is counted where a sample has several labels, and how many of the single ones were right."""
    classes, signal = view.history.context.classes, "val/label_acc"
    each = f"all of its {classes:,} labels are" if classes else "every one of its labels is"
    last = next(reversed(view.history.series(signal).finite.values), None)
    single = (
        f" Of the single labels {shown('acc', last)} were right in the last evaluation." if last is not None else ""
    )
    trivial = f" {told}" if (told := labels_by_frequency(view)) else ""
    return f"Exact match: a sample counts as right only where {each} right.{single}{trivial}"


def _of_positions(view: View) -> str:
    """What the intervals rest on where a sample holds many answers."""
    number = samples(view.history)
    if not number:
        return f"No interval: {UNKNOWN}."
    return (
        f"The positions of one sample depend on each other: intervals and tests take each of the {number:,} validation samples "
        "as one answer, which is too careful rather than too bold."
    )
