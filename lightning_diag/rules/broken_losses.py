"""Losses that were not finite: where, and whether the weights lived through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from lightning_diag.history import RunHistory
from lightning_diag.rules.consequences import NOTHING_MEASURED
from lightning_diag.words import number

Fate = Literal["lost", "spared", "validation"]


@dataclass(frozen=True, kw_only=True)
class BrokenLoss:
    """Losses that were NaN or infinite.

    Attributes:
        signal: where they were seen. epoch: the first one. times: epochs with one, or steps where single steps were counted.
        text: the same as a clause.
        over: the last epoch was free of them.
        fate: ``lost`` where nothing finite came after them, ``spared`` where training went on with finite losses,
            ``validation`` where training was never touched.
        proof: what tells that the weights lived, as a clause; empty when they are lost.
    """

    signal: str
    epoch: int
    times: int
    text: str
    over: bool
    fate: Fate
    proof: str


def broken_loss(history: RunHistory, tolerated: int) -> BrokenLoss | None:
    """The losses that were not finite: training before validation, epochs before single steps; None when there are none.

    Of weights that were lost the date is the first epoch in which anything broke that never came back.
    """
    broken = {signal: rows for signal in SIGNALS if (rows := _broken(history, signal, tolerated))}
    if not broken:
        return None
    signal, rows = next(iter(broken.items()))
    found = _judged(history, signal, rows)
    if found.fate != "lost":
        return found
    bad = {epoch for rows in broken.values() for epoch, _ in rows}
    sound = max((e for name in LABELS for e in history.series(name).finite.epochs if e not in bad), default=-1)
    last = {name: [row for row in rows if row[0] > sound] for name, rows in broken.items()}
    first = min((rows[0][0] for rows in last.values() if rows), default=None)
    if (
        first is None
    ):  # all that is finite came later, beside steps that are tolerated, or in a record with an epoch twice
        return found
    signal = next(name for name in DATED if name in last and last[name] and last[name][0][0] == first)
    return _judged(history, signal, last[signal], lost=True)


SIGNALS = ("train/loss", "val/loss", "loss/nonfinite_steps")
"""Where a broken loss is looked for."""
DATED = ("train/loss", "loss/nonfinite_steps", "val/loss")
"""By which one a divergence is dated where several broke in one epoch: its steps come before its validation."""


def _broken(history: RunHistory, signal: str, tolerated: int) -> list[tuple[int, float]]:
    """(epoch, value) of what was not finite; of steps their number."""
    if signal in LABELS:
        return [(epoch, value) for epoch, value in history.series(signal) if not math.isfinite(value)]
    rows = [(epoch, value) for epoch, value in history.series(signal).finite if value]
    return rows if sum(value for _, value in rows) > tolerated else []


def diverged_from(history: RunHistory, tolerated: int = 0) -> int | None:
    """The epoch from which the weights are lost; None where they are not."""
    found = broken_loss(history, tolerated)
    return found.epoch if found is not None and found.fate == "lost" else None


LABELS = {"train/loss": "the training loss", "val/loss": "the validation loss"}
"""How the two losses are called in a sentence."""


def scales_loss(history: RunHistory) -> bool:
    """Whether the loss is scaled for fp16, so that steps with a non-finite gradient are skipped and not taken.

    bfloat16 has the range of float32 and needs no scaling; Lightning's ``16-true`` does none.
    """
    return history.context.precision in {"16", "16-mixed"}


def _judged(history: RunHistory, signal: str, rows: list[tuple[int, float]], *, lost: bool = False) -> BrokenLoss:
    epochs = [epoch for epoch, _ in rows]
    times, text = _told(signal, rows)
    proof = "" if lost else _lived(history, signal, epochs)
    fate: Fate = "lost" if not proof else "validation" if signal == "val/loss" else "spared"
    measured = max((e for e, _ in history.series("val/loss" if signal == "val/loss" else "train/loss")), default=0)
    over = epochs[-1] < measured
    return BrokenLoss(signal=signal, epoch=epochs[0], times=times, text=text, over=over, fate=fate, proof=proof)


def _told(signal: str, rows: list[tuple[int, float]]) -> tuple[int, str]:
    """How many epochs or steps broke, and the same as a clause."""
    first, several = rows[0][0], len(rows) > 1
    if signal in LABELS:
        where = f"{len(rows)} epochs, first in epoch {first}" if several else f"epoch {first}"
        return len(rows), f"{LABELS[signal]} is {number(rows[0][1])} in {where}"
    count = round(sum(value for _, value in rows))
    what = "1 training step" if count == 1 else f"{count:,} training steps"
    return count, f"{what} had a non-finite loss, {'first ' if several else ''}in epoch {first}"


def _lived(history: RunHistory, signal: str, epochs: list[int]) -> str:
    """What shows that the weights were finite afterwards; weights that are NaN give no finite loss again."""
    training, validation = history.series("train/loss").finite.epochs, history.series("val/loss").finite.epochs
    if validation and validation[-1] > epochs[-1] and signal == "val/loss":
        return f"the validation loss of epoch {validation[-1]} is finite"
    if signal == "val/loss":
        return f"training losses are finite up to epoch {training[-1]}" if training and training[-1] > epochs[0] else ""
    last = max((e for e, v in history.series("loss/nonfinite_steps") if v), default=epochs[-1])
    last = max(last, epochs[-1])
    if training and training[-1] > last:
        return f"training losses are finite from epoch {next(e for e in training if e > last)} on"
    if validation and validation[-1] >= last:
        return f"the validation loss of epoch {validation[-1]} is finite"
    gradients = history.series("grad/nonfinite_steps").finite.values
    if signal == "loss/nonfinite_steps" and gradients and not any(gradients):
        return "no gradient that was sampled was non-finite"
    return ""


def of_steps(history: RunHistory, found: BrokenLoss) -> dict[str, Any]:
    """The fields of the finding where training went on."""
    scaling = scales_loss(history)
    went = "The weights were not lost" if found.signal == "train/loss" and not found.over else "The run went on"
    precision = ("bf16-mixed, or the layer that overflows in float32: float16 ends at 65,504",) if scaling else ()
    return {
        "severity": "warning" if found.over else "error",
        "title": "Some steps had a non-finite loss" + (", and training went on" if found.over else ""),
        "summary": f"{went}, but {found.text}.",
        "why": "What those steps should have taught is lost"
        + (", as the scaling of the loss skips them." if scaling else "; the weights are not."),
        "actions": (
            *precision,
            BATCHES,
            "check inputs and targets for NaN, and logarithms and divisions in the loss for 0",
        ),
        "next_test": "stop at the first step whose loss is not finite and look at its batch: is it broken, or empty?",
    }


def of_validation(history: RunHistory, found: BrokenLoss) -> dict[str, Any]:
    """The fields of the finding where training was never touched."""
    looked = len(history.series("val/loss"))
    return {
        "severity": "warning" if found.over else "error",
        "scope": "val",
        "title": f"The validation loss is not finite in {found.times} of {looked} evaluations",
        "summary": f"Validation is broken, and the weights are not: {found.text}.",
        "why": "A mean with one infinite term tells nothing, and EarlyStopping on it ends the run (check_finite=True).",
        "actions": (
            "look for validation samples that are NaN, empty, or of a class to which the model gives probability 0",
            "compute the loss from logits in float32, not from probabilities",
            "with batch normalisation, look for NaN in its running statistics, which only evaluation uses",
        ),
        "next_test": "validate with a batch size of 1 and print the first sample whose loss is not finite",
        "explains": () if found.over else NOTHING_MEASURED,
    }


BATCHES = "look for batches without one target that counts (all of them ignore_index): their mean loss is 0/0 = NaN"
"""The usual cause of a NaN whose gradient is 0."""
