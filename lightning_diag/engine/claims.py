"""What people would read out of the curves and the data do not carry, with what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_diag import statistics
from lightning_diag.findings import NotEstablished
from lightning_diag.history import ClassRow, Count, Paired, RunHistory
from lightning_diag.rules.best_weights import start_is_best
from lightning_diag.rules.broken_losses import diverged_from
from lightning_diag.rules.falls import Fall, fall, start
from lightning_diag.rules.falls import best as chosen
from lightning_diag.rules.independence import independent
from lightning_diag.rules.reading import best_count, counts
from lightning_diag.words import listed, of, p, percent, points

SMALL_SUPPORT = 30
"""Classes with fewer samples have a 95 % interval of more than 30 points at a recall of 50–70 % (Wilson)."""
SMALL_FALL = 0.01
"""Nobody reads a fall of less than a point out of a curve; to refute it would take tens of thousands of samples."""
LARGE_BIAS = 0.02
"""The best of many epochs is worth a word when its optimism may exceed two points."""


GOT_WORSE = "validation got worse over all"
FEWER_LINES = "fewer lines are decoded without an error"
"""The claim that the last evaluation is worse than the best one; of CTC whole lines are counted."""


def doubts_fall(claims: Sequence[NotEstablished]) -> bool:
    """Whether one of the claims is that of the fall from the best to the last evaluation."""
    return any(what in claim.claim for claim in claims for what in (GOT_WORSE, FEWER_LINES))


def not_established(history: RunHistory) -> tuple[NotEstablished, ...]:
    """Every such claim about this run, the most tempting first."""
    made = (_got_worse(history), _target_out_of_reach(history), _best_epoch(history), _single_classes(history))
    return tuple(claim for claim in made if claim is not None)


def _reference(history: RunHistory) -> tuple[int, Count] | None:
    """The best accuracy that is known, the start of the fit included."""
    options = [pair for pair in (start(history), best_count(history, "val")) if pair]
    return max(options, key=lambda pair: (pair[1].rate, -pair[0])) if options else None


def _got_worse(history: RunHistory) -> NotEstablished | None:
    found = fall(history)
    if found is None or found.p_value < statistics.CUSTOMARY:
        return None
    best, last = found.then, found.now
    if best.rate - last.rate < SMALL_FALL or percent(best.rate) == percent(last.rate):
        return None
    what = FEWER_LINES if history.context.task == "ctc" else GOT_WORSE
    reason = f"{best.k:,}/{best.n:,} in epoch {found.epoch} against {last.k:,}/{last.n:,} at the end, {found.chance}"
    if not independent(history):
        needed = "more validation samples, or the accuracy of each sample in both epochs, paired"
    elif found.paired is None:
        at_best, helps = _at_best_paired(found)
        reason = f"{reason} (Fisher's exact test){at_best}"
        needed = _enough(found) + (", or predictions paired by sample" if helps else "")
    else:
        reason, needed = f"{reason} (paired, exact McNemar)", _enough_pairs(found, found.paired)
    return NotEstablished(
        claim=f"That {what} ({percent(best.rate)} → {percent(last.rate)})", reason=reason, needed=needed
    )


def _at_best_paired(found: Fall) -> tuple[str, bool]:
    """The smallest p-value that pairs of these samples could give, all changes in one direction; whether it would do."""
    if found.then.n != found.now.n:
        return "", True
    lost = found.then.k - found.now.k
    least = statistics.corrected(statistics.mcnemar(0, lost), found.looks)
    if least < statistics.CUSTOMARY:
        return f"; at best {p(least)} if all {lost} changed samples are losses", True
    return f"; pairing these samples could not settle it ({p(least)} at best)", False


def _enough(found: Fall) -> str:
    first, second = found.then.rate, found.now.rate
    level = statistics.before_correction(statistics.CUSTOMARY, found.looks)
    about = statistics.rounded_up(statistics.samples_needed(first, second, level))
    return (
        f"to tell {percent(first)} from {percent(second)} unpaired you need about {about:,} samples "
        f"(power 80 %{_after_choice(found)})"
    )


def _after_choice(found: Fall) -> str:
    """What the number of samples allows for besides the power: the choice that the p-value was corrected for."""
    return f", the choice among {found.looks + 1} evaluations allowed for" if found.looks > 1 else ""


def _enough_pairs(found: Fall, pairs: Paired) -> str:
    """The same for samples that are paired already: what helps is more of them."""
    if pairs.lost <= pairs.gained:
        return ""
    drop, total = found.then.rate - found.now.rate, pairs.both + pairs.gained + pairs.lost + pairs.neither
    level = statistics.before_correction(statistics.CUSTOMARY, found.looks)
    about = statistics.rounded_up(statistics.pairs_needed(pairs.gained, pairs.lost, total, level))
    return (
        f"{pairs.lost} {'sample was' if pairs.lost == 1 else 'samples were'} lost and {pairs.gained} gained; at these shares about {about:,} paired samples would "
        f"establish a difference of {points(drop)} (power 80 %{_after_choice(found)})"
    )


def _target_out_of_reach(history: RunHistory) -> NotEstablished | None:
    """The target is missed by the best value, and the data cannot rule out that it was reached."""
    target, reference = history.context.target, _reference(history)
    if target is None or reference is None or target.metric != "val/acc" or reference[1].rate >= target.value:
        return None
    epoch, best = reference
    p_value = statistics.binomial(best, target.value, "less")
    if p_value < statistics.CUSTOMARY or not independent(
        history
    ):  # a test that is too careful leaves open what another would settle
        return None
    return NotEstablished(
        claim=f"That the best epoch is below the target of {percent(target.value)}",
        reason=f"{of(best)} in epoch {epoch}: not ruled out ({p(p_value)}, exact binomial)",
        needed=f"a true rate of {percent(best.rate)} would be told from {percent(target.value)} by about "
        f"{statistics.rounded_up(statistics.samples_needed_against(target.value, best.rate)):,} samples (power 80 %)",
    )


def _best_epoch(history: RunHistory) -> NotEstablished | None:
    best, looks = best_count(history, "val"), len(counts(history, "val"))
    if (
        not independent(history) or best is None or start_is_best(history) or best != chosen(history)
    ):  # nobody would choose it
        return None
    lines, bias = history.context.task == "ctc", statistics.best_of_bias(best[1].n, best[1].rate, looks)
    if bias < LARGE_BIAS:
        return None
    return NotEstablished(
        claim=f"That epoch {best[0]} "
        + (
            f"decodes as many as {percent(best[1].rate)} of the lines"
            if lines
            else f"is as good as {percent(best[1].rate)}"
        ),
        reason=f"it is the best of {looks} evaluations of {best[1].n:,} samples, which alone flatters by up to {points(bias)}",
        needed="score the chosen checkpoint once on samples that did not choose it",
    )


def _single_classes(history: RunHistory) -> NotEstablished | None:
    record = history.last_stage("val")
    small = (
        [row for row in record.classes if 0 < row.support < SMALL_SUPPORT] if record and independent(history) else []
    )
    if len({row.recall.rate for row in small}) < 2 or diverged_from(history) is not None:
        return None  # nobody ranks classes that are all alike, nor those of weights that are lost
    shown = listed([_class_text(history, row) for row in sorted(small, key=lambda r: (r.recall.rate, r.index))], 4)
    largest = max(row.support for row in small)
    widest = f"{100 * statistics.detectable(largest, 0.9):.0f}"
    return NotEstablished(
        claim="Any single class" if len(small) == len(record.classes if record else ()) else "The small classes",
        reason=f"{shown}: intervals this wide rank no class",
        needed=f"with {largest} samples per class or fewer, drops under about {widest} points are missed more often than one time in five",
    )


def _class_text(history: RunHistory, row: ClassRow) -> str:
    interval = statistics.wilson(row.recall)
    return f"{history.class_name(row.index)} {of(row.recall)} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
