"""Questions about a CTC run that several rules ask, each answered in one place.

*Trivial loss* is the CTC loss of the best output that ignores the input: blank mass and token frequencies. Loss over
trivial loss is free of scale: about 1 on the all-blank plateau, 0.03 to 0.22 at the end of healthy runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from lightning_diag.findings import Evidence
from lightning_diag.history import CTCFacts, EpochRecord, RunHistory
from lightning_diag.words import number, percent

PATIENCE = 2
"""Evaluations in a row at which a condition must hold. Of 492 evaluations of 30 healthy runs 5 met one once, all while
leaving the plateau, and none twice in a row."""
PLATEAU = 0.05
"""Emitted over reference tokens below which a model puts out nothing: healthy runs end at 0.97 to 1.00."""
SETTLED_STEPS = 100
"""Steps after which the output is expected to mean something; healthy runs leave the all-blank phase after 36 to 430."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One evaluation as the CTC rules see it."""

    record: EpochRecord

    @property
    def epoch(self) -> int:
        """Epoch of the evaluation."""
        return self.record.epoch

    @property
    def step(self) -> int:
        """Optimiser steps made so far; 0 where that is not known."""
        return self.record.step or 0

    def train(self, name: str) -> float | None:
        """A signal of training."""
        return self.record.value(f"ctc/train/{name}")

    def val(self, name: str) -> float | None:
        """A signal of validation."""
        return self.record.value(f"ctc/val/{name}")

    def either(self, name: str) -> float | None:
        """The signal of validation, else of training: validation reads every frame, of one state of the weights."""
        found = self.val(name)
        return self.train(name) if found is None else found

    def evidence(self, stage: str, name: str, text: str, expected: float | None = None) -> Evidence:
        """Evidence from one signal; ``{}`` in the text stands for its value."""
        signal = f"ctc/{stage}/{name}"
        value = self.record.values[signal]
        shown = percent(value) if name.endswith("_share") or name in {"ter", "sub", "del", "ins"} else number(value)
        return Evidence(signal=signal, text=text.format(shown), epoch=self.epoch, observed=value, expected=expected)

    def shown(self, name: str, text: str, expected: float | None = None) -> tuple[Evidence, ...]:
        """Evidence of :meth:`either`; nothing where it was not measured."""
        stage = "val" if self.val(name) is not None else "train"
        value = self.record.value(f"ctc/{stage}/{name}")
        return () if value is None or value != value else (self.evidence(stage, name, text, expected),)  # noqa: PLR0124  (NaN)


def codes(*numbers: int) -> tuple[str, ...]:
    """Rule codes by their numbers: ``codes(201, 202)`` is ``("LD201", "LD202")``."""
    return tuple(f"LD{number}" for number in numbers)


def looks(history: RunHistory) -> list[Look]:
    """The evaluations that measured CTC signals."""
    return [Look(record=r) for r in history.epochs if any(name.startswith("ctc/") for name in r.values)]


def held(history: RunHistory, condition: Callable[[Look, Look | None], bool], times: int = PATIENCE) -> Look | None:
    """The last evaluation, if the condition held there and at the ``times - 1`` before it.

    Args:
        history: the run.
        condition: takes an evaluation and the one before it (None for the first).
        times: evaluations in a row.
    """
    every = looks(history)
    return every[-1] if every and len(tail(every, condition)) >= times else None


def tail(every: list[Look], condition: Callable[[Look, Look | None], bool]) -> list[Look]:
    """The last evaluations in a row at which the condition held."""
    found: list[Look] = []
    for look, before in zip(reversed(every), [*reversed(every[:-1]), None], strict=True):
        if not condition(look, before):
            break
        found.insert(0, look)
    return found


def below(value: float | None, limit: float) -> bool:
    """Whether a value was measured and lies below the limit; NaN does not."""
    return value is not None and value < limit


def above(value: float | None, limit: float) -> bool:
    """Whether a value was measured and lies above the limit; NaN does not."""
    return value is not None and value > limit


def facts(history: RunHistory) -> CTCFacts:
    """What is known about the set-up; empty facts where nothing is."""
    return history.context.ctc or CTCFacts()


def checks(history: RunHistory, *words: str) -> tuple[tuple[str, str], ...]:
    """Answers of the call checks with these code words."""
    return tuple(pair for pair in facts(history).checks if pair[0] in words)


def check_evidence(found: tuple[tuple[str, str], ...]) -> tuple[Evidence, ...]:
    """What the call checks saw, without the advice."""
    return tuple(
        Evidence(signal=f"ctc.checks.{word}", text=text.partition(" Do: ")[0].rstrip("."), observed=1.0)
        for word, text in found
    )


def check_advice(found: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The advice of the call checks."""
    return tuple(text.partition(" Do: ")[2].rstrip(".") for _, text in found if " Do: " in text)


def recent_fall(look: Look, before: Look | None) -> float | None:
    """Relative fall of the training loss per 50 steps; between evaluations where the last 50 steps are not known.

    Where 50 steps or more lie between two evaluations, the larger of the two falls counts: noise of single batches must
    not hide what a whole evaluation shows.
    """
    recent = look.train("loss_fall_50")
    now, then = look.train("loss_ratio"), before.train("loss_ratio") if before else None
    if now is None or then is None or then <= 0:
        return recent
    between = (then - now) / then
    far = bool(before and look.step - before.step >= 50)
    if recent is None:
        return between
    return max(recent, between) if far else recent


def moving(every: list[Look], times: int = 4) -> bool:
    """Whether validation creeps below the trivial loss: its last values fall one after the other and end below 1.

    No output that ignores the input can do that, and the validation lines are the same each time, so that even a small
    steady fall is no noise: the model has begun to use the input, however slowly.
    """
    values = [value for look in every[-times:] if (value := look.val("loss_ratio")) is not None]
    return len(values) == times and values[-1] < 1 and all(b < a for a, b in pairwise(values))


def on_blank_plateau(values: Mapping[str, float]) -> str | None:
    """Why a stopping criterion should hold: the model is in the all-blank phase, where flat metrics do not mean the end.

    Args:
        values: scalars of one evaluation (:attr:`EpochRecord.values`).

    Returns:
        A sentence with numbers; None off the plateau, or without CTC signals.
    """
    stage = "val" if "ctc/val/emit_ratio" in values else "train"
    emitted, blanks = values.get(f"ctc/{stage}/emit_ratio"), values.get(f"ctc/{stage}/blank_share")
    if emitted is None or not emitted < PLATEAU:
        return None
    share = f"{percent(blanks)} of the frames are blank and " if blanks is not None else ""
    return (
        f"the CTC model is on the all-blank plateau: {share}it emits {number(emitted)} tokens per reference token; "
        "every healthy run passes through it, so a flat metric is not convergence"
    )
