"""Training against validation accuracy: how far they are apart, and which one is ahead."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.class_mix import as_in_validation, mix_apart
from lightning_diag.rules.independence import independent
from lightning_diag.rules.reading import counts, final_count
from lightning_diag.words import of, percent, points


def gap(history: RunHistory) -> tuple[Count, Count] | None:
    """(training, validation) accuracy at the end, by the measure of training that establishes more of a gap.

    The running accuracy rests on all samples, and dropout and moving weights lower it; the probe in eval mode has neither
    fault and few samples. Each understates the gap in its own way.
    """
    val = final_count(history, "val")
    both = [count for stage in ("train", "probe") if (count := final_count(history, stage))]
    if val is None or not both:
        return None
    return max(both, key=lambda count: statistics.difference(count, val).low), val


def gap_interval(history: RunHistory) -> statistics.Interval | None:
    """95 % interval of training minus validation accuracy at the end; None when one of them is not known.

    Where only validation was counted, the training accuracy is taken to rest on as many samples: training sets are
    hardly ever smaller, so that the interval is too wide rather than too narrow.
    """
    ends = gap(history)
    if ends:
        return statistics.difference(*ends)
    val, rates = final_count(history, "val"), history.series("train/acc").finite.values
    if val is None or not rates or not 0 <= rates[-1] <= 1:
        return None
    return statistics.difference(Count(k=round(rates[-1] * val.n), n=val.n), val)


def established(history: RunHistory, limit: float) -> tuple[Count, Count] | None:
    """(training, validation) accuracy at the end where training is established to be ahead by ``limit``; else None."""
    ends, apart = gap(history), gap_interval(history)
    return ends if ends and apart and apart.low > limit else None


def stages_at_end(history: RunHistory) -> tuple[str, Evidence] | None:
    """Training and validation at the end as a clause for the summary, and how far they are apart; for CTC by token errors."""
    train, val = history.series("ctc/train/ter").finite, history.series("ctc/val/ter").finite
    if history.context.task == "ctc" and len(train) and len(val):
        size = f": token error rate {percent(train.values[-1])} on training, {percent(val.values[-1])} on validation"
        gap_of = f"{points(val.values[-1] - train.values[-1])} more token errors on validation"
        return size, Evidence(signal="ctc/val/ter", text=gap_of, observed=val.values[-1], expected=train.values[-1])
    ends, apart = gap(history), gap_interval(history)
    if not ends or not apart:
        return None
    size = f": training {of(ends[0])}, validation {of(ends[1])}"
    bounds = f" ({100 * apart.low:.0f}–{100 * apart.high:.0f})" if independent(history) else ""
    wide = f"{points(ends[0].rate - ends[1].rate)}{bounds}"
    return size, Evidence(signal="val/acc", text=f"gap {wide}{size}", observed=ends[1].rate, expected=ends[0].rate)


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """One evaluation in which validation is ahead of training.

    Attributes:
        epoch, train, val: where, and both accuracies as they were counted.
        lead: 95 % interval of validation minus training, both with the classes in the shares of validation.
        weighed: training accuracy at those shares, where it is another one.
    """

    epoch: int
    train: Count
    val: Count
    lead: statistics.Interval
    weighed: Count | None = None

    @property
    def training(self) -> str:
        """Training accuracy as text, with what the shares of the classes make of it."""
        same = self.weighed is None or percent(self.weighed.rate) == percent(self.train.rate)
        weighed = (
            "" if self.weighed is None or same else f" ({percent(self.weighed.rate)} at the class shares of validation)"
        )
        return f"{of(self.train)}{weighed}"


def validation_ahead(history: RunHistory, margin: float, *, mix: bool = True) -> list[Ahead]:
    """The evaluations where validation is established to be ahead by ``margin``.

    When the module has neither dropout nor batch normalisation, training accuracy is the running one of the *following*
    epoch, which the weights only improve; else that of the probe in eval mode. Where the classes have other shares in
    training, the recalls are weighed by those of validation; where they were not recorded, the lead must exceed what the
    shares can make (``mix=False`` lets that pass).
    """
    apart = mix_apart(history) if mix else 0.0
    found = []
    for epoch, train, val, weighed in _pairs(history):
        lead = statistics.difference(val, weighed or train)
        if lead.low > margin + (0.0 if weighed else apart):
            found.append(Ahead(epoch=epoch, train=train, val=val, lead=lead, weighed=weighed))
    return found


def comparable(history: RunHistory) -> bool:
    """Whether :func:`validation_ahead` has anything to compare."""
    return bool(_pairs(history))


def _pairs(history: RunHistory) -> list[tuple[int, Count, Count, Count | None]]:
    """(epoch, training, validation, training at the class shares of validation) of the evaluations that compare."""
    val, probe = dict(counts(history, "val")), dict(counts(history, "probe"))
    running, rows = counts(history, "train"), {}
    if _plain(history) and len(running) > 1:
        probe = {e: following for (e, _), (_, following) in itertools.pairwise(running)}
        rows = {e: r.classes for (e, _), (_, r) in itertools.pairwise(history.stage("train"))}
    of_val = {e: record.classes for e, record in history.stage("val")}
    both = sorted(val.keys() & probe.keys())
    weighed = {e: as_in_validation(rows[e], of_val[e]) for e in both if e in rows and e in of_val}
    return [(e, probe[e], val[e], weighed.get(e)) for e in both]


def _plain(history: RunHistory) -> bool:
    """Whether training mode answers as well as eval mode: no dropout, and batch statistics of enough samples."""
    model, batch = history.context.model, history.context.data.train.batch_size
    return model.dropout is False and (model.batch_norm is False or (batch or 0) >= STEADY_BATCH)


STEADY_BATCH = 16
"""Samples per batch from which batch statistics stray by at most a quarter of the spread, which moves few answers."""


def training_measure(history: RunHistory) -> str:
    """What :func:`validation_ahead` compared validation with, as a clause."""
    return "in the following epoch" if _plain(history) and len(counts(history, "train")) > 1 else "in eval mode"


def unseen_noise(history: RunHistory) -> tuple[Evidence, ...]:
    """Training mode was taken to answer like eval mode, because no layer and no setting says otherwise."""
    if training_measure(history) == "in eval mode":
        return ()
    text = (
        "not excluded: noise that forward adds in training mode only, where no layer or setting of the module shows it"
    )
    return (Evidence(signal="model.dropout", text=text),)
