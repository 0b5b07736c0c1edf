"""How far the last accuracy lies below an earlier one, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_diag import statistics
from lightning_diag.history import Count, Paired, RunHistory
from lightning_diag.rules.independence import UNKNOWN, differ, independent, samples
from lightning_diag.rules.reading import best_count, counts, final_count
from lightning_diag.words import of, p, percent


@dataclass(frozen=True, kw_only=True)
class Fall:
    """The last validation accuracy against an earlier, better one.

    Attributes:
        epoch, then: where the better one was, and what it was. now: the last one.
        raw: p-value of the one comparison: exact McNemar where the samples are paired, else Fisher's exact test.
        looks: other evaluations, each of which might have been the best; 1 where it was not chosen (the start of a fit).
        p_value: ``raw`` after that choice (Šidák). The best is the one that the last differs from most, so that its
            p-value is about the smallest of ``looks``.
        paired: the samples that changed sides, where they are known.
        taken: what the samples were taken to be, where each holds many answers that depend on each other.
    """

    epoch: int
    then: Count
    now: Count
    raw: float
    looks: int
    p_value: float
    paired: Paired | None
    taken: str = ""

    @property
    def chance(self) -> str:
        """The p-value as text, with what it was corrected for: ``p = 0.03 after choosing the best of 40 evaluations``."""
        chosen = f" after choosing the best of {self.looks + 1} evaluations" if self.looks > 1 else ""
        return f"{p(self.p_value)}{chosen}{self.taken}"


def start(history: RunHistory) -> tuple[int, Count] | None:
    """(epoch, accuracy) of the weights that the run started from, where known."""
    baseline = history.context.baseline
    if baseline is None or baseline.correct is None or not baseline.correct.n:
        return None
    first = history.epochs[0].epoch if history.epochs else 0
    return (first - 1 if baseline.epoch is None else baseline.epoch), baseline.correct


def fall_since_start(history: RunHistory) -> Fall | None:
    """The last accuracy against that of the start, a comparison that nothing was chosen for; None unless it is lower."""
    return _fall(history, start(history), 1)


def fall(history: RunHistory) -> Fall | None:
    """The last accuracy against the best one known, the start where nothing since was better; None unless it is lower.

    *Best* is the epoch that the whole report calls so where accuracy was counted in it, else the best accuracy.
    """
    begun, chosen = start(history), best(history)
    if begun is not None and (chosen is None or begun[0] == chosen[0] or begun[1].rate >= chosen[1].rate):
        return fall_since_start(history)
    return _fall(history, chosen, len(counts(history, "val")) - 1)


def best(history: RunHistory) -> tuple[int, Count] | None:
    """(epoch, accuracy) of the epoch that the whole report calls the best; the best accuracy where none was counted in it."""
    record = history.best_record()
    stage = record.stages.get("val") if record is not None else None
    if record is None or stage is None or not stage.correct:
        return best_count(history, "val")
    return record.epoch, stage.correct


def _fall(history: RunHistory, reference: tuple[int, Count] | None, looks: int) -> Fall | None:
    now = final_count(history, "val")
    if reference is None or now is None or not reference[1].n or now.rate >= reference[1].rate:
        return None
    epoch, then = reference
    last = history.last_stage("val")
    known = last is not None and last.paired and last.paired.reference_epoch == epoch and independent(history)
    paired = last.paired if last is not None and known else None
    raw = statistics.mcnemar(paired.gained, paired.lost) if paired else differ(history, then, now)
    return Fall(
        epoch=epoch,
        then=then,
        now=now,
        looks=looks,
        p_value=statistics.corrected(raw, looks),
        raw=raw,
        paired=paired,
        taken=_taken(history),
    )


def _taken(history: RunHistory) -> str:
    """What a test took for its samples, as a clause; nothing where each answer is one."""
    if independent(history):
        return ""
    number = samples(history)
    return f", each of the {number:,} samples taken as one answer" if number else f": {UNKNOWN}"


def left_open(history: RunHistory) -> str:
    """A claim that the user made (a target, a start to improve on) and that so few samples leave open, as a clause."""
    if not independent(history):  # a test that is too careful leaves open what another would settle
        return ""
    target, best, fallen = history.context.target, best_count(history, "val"), fall_since_start(history)
    if fallen is not None and fallen.p_value >= statistics.CUSTOMARY:
        return f"; whether it fell from {of(fallen.then)} to {of(fallen.now)} cannot be told ({fallen.chance})"
    named = target is not None and target.metric == "val/acc"
    if target and best and named and best[1].rate < target.value <= statistics.wilson(best[1]).high:
        return f"; whether the best reached the target of {percent(target.value)} cannot be told"
    return ""
