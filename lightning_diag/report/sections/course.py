"""How the learning rate went, and what the stopping criterion thought."""

from __future__ import annotations

from itertools import groupby, pairwise

from lightning_diag.history import RunHistory, Series
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Bullets, Column, Figure, Item, Paragraph, table
from lightning_diag.report.escape import name
from lightning_diag.report.sections.causes import sentence
from lightning_diag.report.view import View
from lightning_diag.stopping import missed_gain

EVENTS = ("lr_cut", "lr_restart", "lr_rise")
UPDATES = (
    ("grad/norm", "Mean gradient norm"),
    ("grad/clip_ratio", "Share of the gradient that clipping left"),
    ("update/ratio", "Update of an epoch over the weights"),
)
BLOCKS = 24
"""Blocks of the module that are listed, in their order."""
LISTED = 8
"""Changes of the learning rate that are named one by one."""


def learning_rate(view: View) -> tuple[Block, ...]:
    """First, highest, lowest and last value, and where it was cut or restarted."""
    series = view.history.series("lr").finite
    if not len(series):
        return ()
    scheduler = view.history.context.optim.scheduler
    head = f"{name(scheduler)}: " if scheduler else ""
    return (Paragraph(text=sentence(head + _span(view.history)) + _groups(view.history) + _events(view.history)),)


def _span(history: RunHistory) -> str:
    series = history.series("lr").finite
    first, last = series.values[0], series.values[-1]
    low, high = min(series.values), max(series.values)
    if len(series) == 1:
        return f"{numbers.rate(first)} (recorded once, in epoch {series.epochs[0]})"
    if low == high:
        return f"constant at {numbers.rate(first)} in all {len(series)} recorded epochs"
    if smooth(history):
        return _rise_and_fall(series, bool(len(history.series("lr/first"))))
    top, bottom = series.best("max"), series.best("min")
    parts = [f"{numbers.rate(first)} in epoch {series.epochs[0]}"]
    if top is not None and high not in (first, last):
        parts.append(f"highest {numbers.rate(high)} in epoch {top[0]}")
    if bottom is not None and low not in (first, last):
        parts.append(f"lowest {numbers.rate(low)} in epoch {bottom[0]}")
    return ", ".join([*parts, f"{numbers.rate(last)} in epoch {series.epochs[-1]}"])


STEPPED = ("StepLR", "ReduceLROnPlateau", "ConstantLR")
"""Schedules that hold a rate and then cut it, whichever epochs the cuts fall on."""
GRADUAL = 3
"""Changes from epoch to epoch in a row that make a course gradual; cuts stand alone."""


def smooth(history: RunHistory) -> bool:
    """Whether the rate rises gradually to a peak and falls from it, or does one of the two: single cuts mean nothing then."""
    values, scheduler = history.series("lr").finite.values, history.context.optim.scheduler or ""
    moved = [a != b for a, b in pairwise(values)]
    longest = max((len(list(run)) for moves, run in groupby(moved) if moves), default=0)
    if not moved or longest < min(GRADUAL, len(moved)) or any(name in scheduler for name in STEPPED):
        return False
    peak = values.index(max(values))
    rises, falls = pairwise(values[: peak + 1]), pairwise(values[peak:])
    return all(a <= b for a, b in rises) and all(a >= b for a, b in falls)


def _rise_and_fall(series: Series, within: bool) -> str:
    """``rose from 0.004 in epoch 0 to 0.01 in epoch 2, fell to 4e-6 in epoch 7``; ``within``: it moves within epochs."""
    first, last = series.values[0], series.values[-1]
    epoch, peak = series.best("max") or (series.epochs[0], first)
    begin = f"from {numbers.rate(first)} in epoch {series.epochs[0]} "
    rose = f"rose {begin}to {numbers.rate(peak)} in epoch {epoch}" if epoch != series.epochs[0] else ""
    fell = f"fell {'' if rose else begin}to {numbers.rate(last)} in epoch {series.epochs[-1]}" if last < peak else ""
    read = " (each at the end of the epoch)" if within else ""
    return ", ".join(part for part in (rose, fell) if part) + read


def _groups(history: RunHistory) -> str:
    """The other parameter groups, where their rates differ from the first one's."""
    last = next((r for r in reversed(history.epochs) if len(set(r.lrs)) > 1), None)
    if last is None:
        return ""
    shown = ", ".join(numbers.rate(lr) for lr in last.lrs[:LISTED])
    more = f" and {len(last.lrs) - LISTED} more" if len(last.lrs) > LISTED else ""
    return f" {len(last.lrs)} parameter groups, in epoch {last.epoch}: {shown}{more}."


def _events(history: RunHistory) -> str:
    words = {"lr_cut": "cut", "lr_restart": "restarted", "lr_rise": "raised"}
    if smooth(history):
        return ""
    found = []
    for kind in EVENTS:
        at = [str(r.epoch) for r in history.epochs if any(e.kind == kind for e in r.events)]
        if at:
            more = f" and {len(at) - LISTED} more" if len(at) > LISTED else ""
            found.append(f"{words[kind]} in epoch{'s' if len(at) > 1 else ''} {', '.join(at[:LISTED])}{more}")
    return f" {sentence('; '.join(found))}" if found else ""


def updates(view: View) -> tuple[Block, ...]:
    """Gradient norm and update ratio at start and end, and block by block in the last epoch."""
    items = tuple(Item(text=text) for text in (_first_to_last(view.history, *s) for s in UPDATES) if text)
    blocks: list[Block] = [Bullets(items=items)] if items else []
    found = view.history.context.model.blocks
    if found:
        lines = [
            (name(b.name, 60), numbers.significant(b.grad_norm), numbers.significant(b.update_ratio))
            for b in found[:BLOCKS]
        ]
        columns = (Column("block"), Column("gradient norm", numeric=True), Column("update over weights", numeric=True))
        note = f"{BLOCKS} of {len(found):,} blocks." if len(found) > BLOCKS else ""
        blocks.append(table(columns, lines, note=note))
    return tuple(blocks)


def _first_to_last(history: RunHistory, signal: str, text: str) -> str:
    series = history.series(signal).finite
    if not len(series):
        return ""
    if len(series) == 1:
        return f"{text}: {numbers.significant(series.values[0])}."
    first, last = numbers.significant(series.values[0]), numbers.significant(series.values[-1])
    largest = series.best("max")
    top = f", largest {numbers.significant(largest[1])} in epoch {largest[0]}" if largest else ""
    return f"{text}: {first} in epoch {series.epochs[0]}, {last} in epoch {series.epochs[-1]}{top}."


def stopping(view: View) -> tuple[Block, ...]:
    """What the adaptive criterion would have done, and what that would have saved or missed."""
    stop = view.history.context.stop
    blocks: list[Block] = [Figure(name="stopping", alt="probability that the best still improves")]
    blocks = blocks if "stopping" in view.figures else []
    items = []
    if view.would_stop is not None:
        text = f"{name(stop.would_stop_reason, 900)}" if stop.would_stop_reason else ""
        items.append(Item(lead=f"Would have stopped after epoch {view.would_stop}.", text=sentence(text)))
        items += [Item(text=_saved(view)), Item(text=_longer_or_not(view))]
    elif stop.would_stop_epoch is not None:
        text = f"the criterion is met after epoch {stop.would_stop_epoch}, the last one, where a stop saves nothing"
        items.append(Item(lead="Would not have stopped earlier:", text=f"{text}."))
    elif stop.probability:
        epoch, value = stop.probability[-1]
        items.append(
            Item(text=f"Probability that the best still improves, after epoch {epoch}: {numbers.percent(value)}.")
        )
    kept = tuple(item for item in items if item.text or item.lead)
    return tuple([*blocks, Bullets(items=kept)] if kept else blocks)


def _saved(view: View) -> str:
    stop = view.history.context.stop
    parts = [
        f"{stop.saved_epochs} epoch{'' if stop.saved_epochs == 1 else 's'}" if stop.saved_epochs else "",
        numbers.duration(stop.saved_seconds) if stop.saved_seconds else "",
    ]
    saved = " and ".join(part for part in parts if part)
    share = stop.missed_gain
    if share is None and stop.would_stop_epoch is not None:
        share = _missed(view.history, *view.metric, stop.would_stop_epoch)
    missed = f"it would have missed {numbers.percent(share)} of the gain" if share is not None else ""
    return sentence("; ".join(t for t in (f"that saves {saved}" if saved else "", missed) if t))


WORTH = 0.05
"""Share of the gain that is worth waiting for: what the criterion's probability speaks of by default."""


def _longer_or_not(view: View) -> str:
    """One conclusion where a finding says *train longer* and the criterion *stop*: what the rest of the run brought."""
    found = next((f for code in ("LD206", "LD205") if (f := view.diagnosis.finding(code)) is not None), None)
    epoch = view.would_stop
    if found is None or epoch is None:
        return ""
    pairs = dict((view.metric, ("val/loss", "min")))
    missed = {signal: _missed(view.history, signal, mode, epoch) for signal, mode in pairs.items()}
    known = {signal: share for signal, share in missed.items() if share is not None}
    if not known:
        return ""
    brought = " and ".join(f"{numbers.percent(share)} of the gain in {view.title(s)}" for s, share in known.items())
    if known.get(view.metric[0], 0.0) >= WORTH:
        end = "train longer, this stop would have been too early"
    elif max(known.values()) >= WORTH:
        end = f"for {view.title(view.metric[0])} stop here; train longer only where probabilities count"
    else:
        end = "stop here, what was left to gain is small"
    rose = found.evidence[0].signal == "val/acc"
    what = f"{view.title('val/acc')} was still rising" if rose else "the validation loss was still falling"
    return sentence(
        f"{found.code} says train longer, because {what} at the end. What the epochs after "
        f"{epoch} brought decides: {brought}; {end}"
    )


def _missed(history: RunHistory, signal: str, mode: str, epoch: int) -> float | None:
    """Share of the gain of ``signal`` in the whole run that came after ``epoch``."""
    series = history.series(signal).finite
    ran = sum(1 for e in series.epochs if e <= epoch)
    return missed_gain(series.values, ran, mode) if ran else None
