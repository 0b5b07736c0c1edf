"""``lightning-diag stopping``."""

from __future__ import annotations

import argparse

from lightning_diag.cli.reading import read, say
from lightning_diag.errors import RecordError
from lightning_diag.history import RunHistory, StopSettings
from lightning_diag.rules.ctc_common import on_blank_plateau
from lightning_diag.stopping import Decision, Replay, replay
from lightning_diag.words import number, percent, title

MOST = 40
"""Rows shown; of a longer run every second, third ... evaluation."""


def run(options: argparse.Namespace) -> int:
    """Print where adaptive early stopping would have stopped, what that saves and what it misses.

    Raises:
        DiagError: the log cannot be understood, or holds no validation series to decide on.
    """
    history, report, _ = read(options)
    result = replay(history, on_blank_plateau)
    if result is None:
        there = ", ".join(history.signals()) or "nothing"
        raise RecordError(
            f"{report.path}: no validation series to decide on (val/acc, ctc/val/ter or val/loss); there is: {there}. "
            "Name a column: --map val_loss=COLUMN"
        )
    say(
        "\n".join(
            [*report.head(), *_watched(history, result), "", *_table(history, result), "", *_verdict(history, result)]
        )
    )
    return 0


def _watched(history: RunHistory, result: Replay) -> list[str]:
    names = [f"{title(name)} ({'lower' if mode == 'min' else 'higher'} is better)" for name, mode in result.series]
    many = len(result.decisions)
    line = f"watched: {' and '.join(names)}, {many} evaluation{'' if many == 1 else 's'}"
    if len(names) > 1:
        line += "; a stop needs all of them to have stalled"
    lines = [line]
    asked = history.context.stopping
    if asked and asked.series:
        lines.append("series, settings and schedule are those of the run")
    if result.planned is None:
        lines.append("the log does not say how long the run was planned: the probabilities are those for an open end")
    return lines


def _table(history: RunHistory, result: Replay) -> list[str]:
    """A row per evaluation for which there is something to say; the best so far and the probability of each series."""
    told = [i for i in range(len(result.decisions)) if any(each[i].probability is not None for each in _each(result))]
    if not told:
        return [f"too few evaluations: {len(result.decisions)}; a probability needs three with finite values"]
    every = -(-len(told) // MOST)
    shown = [i for n, i in enumerate(told) if n % every == 0 or i == told[-1] or result.decisions[i] is result.stop]
    names = [name for name, _ in result.series]
    gain = 100 * (history.context.stopping or StopSettings()).min_gain
    width = max(12, *(len(name) + 2 for name in names))
    heads = [
        " " * 7 + "best so far".ljust(width * len(names)) + f"chance that it improves by over {gain:g} % of the gain"
    ]
    heads.append("  epoch" + "".join(f"{name:>{width}}" for name in names * 2))
    rows = [_row(result, i, width) for i in shown]
    notes = [f"every {_ordinal(every)} of {len(told)} evaluations is shown"] if every > 1 else []
    if told[0]:
        notes.insert(0, f"epochs before {result.epochs[told[0]]}: fewer than three values, no probability yet")
    held = next((decision for decision in result.decisions if decision.cause == "held"), None)
    if held is not None:
        notes.append(f"held: it has stalled, but {held.reason}")
    return [*heads, *rows, *notes]


def _ordinal(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _each(result: Replay) -> list[tuple[Decision, ...]]:
    return [result.each[name] for name, _ in result.series]


def _row(result: Replay, i: int, width: int) -> str:
    decisions = [each[i] for each in _each(result)]
    best = ["-" if d.best is None else number(d.best) for d in decisions]
    chance = ["-" if d.probability is None else percent(d.probability) for d in decisions]
    joint = result.decisions[i]
    mark = "  stop" if joint is result.stop else "  held" if joint.cause == "held" else ""
    return f"{result.epochs[i]:>7}" + "".join(f"{text:>{width}}" for text in [*best, *chance]) + mark


def _verdict(history: RunHistory, result: Replay) -> list[str]:
    if result.stop is None:
        return ["It would not have stopped before the end.", *_otherwise(history, result)]
    lead = title(result.series[0][0])
    missed = (
        f"; it would have missed {percent(max(result.missed, 0.0))} of the gain in {lead}"
        if result.missed is not None
        else ""
    )
    many = len(result.decisions)
    if not result.saved:
        text = f"It would not have stopped before the end: the criterion is met after epoch {result.stop_epoch}, the last one."
        return [text, *_otherwise(history, result)]
    return [
        f"It would have stopped after epoch {result.stop_epoch}. {result.stop.reason}.",
        f"That saves {result.saved} of {many} evaluations{missed}.",
        *_otherwise(history, result),
    ]


def _otherwise(history: RunHistory, result: Replay) -> list[str]:
    """Where the run itself decided otherwise: what it said, and why this may differ."""
    stop = history.context.stop
    ended = stop.stopper == "AdaptiveEarlyStop" and history.epochs
    said = history.epochs[-1].epoch if ended else stop.would_stop_epoch
    if said is None or said == result.stop_epoch:
        return []
    if ended:
        kept = "the Trainer's min_epochs and min_steps, which it keeps, are not in the record"
        return [f"The run itself was stopped by AdaptiveEarlyStop after epoch {said}: {kept}."]
    return [
        f"The report of the run says epoch {said}, decided by series, settings or a schedule that are not in this record."
    ]
