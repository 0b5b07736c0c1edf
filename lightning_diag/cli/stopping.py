"""``lightning-diag stopping``."""

from __future__ import annotations

import argparse

from lightning_diag.cli.reading import read, say
from lightning_diag.errors import RecordError
from lightning_diag.stopping import Replay, replay
from lightning_diag.words import number, percent


def run(options: argparse.Namespace) -> int:
    """Print where adaptive early stopping would have stopped, what that saves and what it misses.

    Raises:
        DiagError: the log cannot be understood, or holds no validation series to decide on.
    """
    history, report, _ = read(options)
    result = replay(history)
    if result is None:
        raise RecordError(
            f"{report.path}: there is no validation series to decide on (val/acc, ctc/val/ter or val/loss)"
        )
    say("\n".join(_lines(result)))
    return 0


def _lines(result: Replay) -> list[str]:
    total = len(result.decisions)
    head = [f"monitored: {result.monitor} ({result.mode}), {total} evaluations", ""]
    rows = [_row(result, i) for i in range(total)]
    return [*head, *rows, "", *_verdict(result, total)]


def _row(result: Replay, i: int) -> str:
    decision = result.decisions[i]
    mark = "stop" if decision is result.stop else ""
    chance = "" if decision.probability is None else f"still improves with probability {percent(decision.probability)}"
    best = "none yet" if decision.best is None else number(decision.best)
    return f"  {decision.index:>6g}  best {best:<9} {chance:<48} {mark}".rstrip()


def _verdict(result: Replay, total: int) -> list[str]:
    if result.stop is None:
        return ["It would not have stopped before the end."]
    missed = "" if result.missed is None else f" and missed {percent(max(result.missed, 0.0))} of the gain"
    return [
        f"It would have stopped at {result.stop.index:g}: {result.stop.reason}.",
        f"That saves {result.saved} of {total} evaluations{missed}.",
    ]
