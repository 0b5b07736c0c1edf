"""LD401: only blanks, and nothing that would end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_causes import CAUSES, Cause, stuck_by
from lightning_diag.rules.ctc_common import (
    PLATEAU,
    SETTLED_STEPS,
    Look,
    below,
    check_evidence,
    checks,
    codes,
    looks,
    moving,
    recent_fall,
    tail,
)
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class CTCBlankCollapse(Rule):
    """The output is all blank and the loss does not fall as it does in a warm-up."""

    code: ClassVar[str] = "LD401"
    name: ClassVar[str] = "ctc-blank-collapse"
    needs: ClassVar[tuple[str, ...]] = ("ctc/val/emit_ratio|ctc/train/emit_ratio", "ctc/train/loss_ratio")
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    emit: float = PLATEAU
    """Emitted over reference tokens below which the output counts as all blank; healthy runs end at 0.97 to 1.00."""
    steps: int = SETTLED_STEPS
    """Steps before which the all-blank phase is never judged: it began at step 5 to 23 in 28 of 28 healthy runs."""
    wiring: float = 1.1
    """Loss over trivial loss above which it is worse than ignoring the input; healthy plateaus: 0.92 to 1.04."""
    weak: float = 0.97
    """Below it something of the input is used."""
    fall_above: float = 0.06
    """Least fall of the loss over 50 steps above ``wiring``: stuck runs fell 0.7 to 4.5 %, a far too small rate 14 %."""
    fall_near: float = 0.02
    """Least fall near or below the trivial loss: healthy plateaus fell 4.5 to 45 % over 50 steps, stuck ones 0.7 to 2.1 %."""
    patience: int = 2
    """Evaluations in a row."""
    flat_steps: int = 100
    """Steps over which it must have been flat: healthy runs rest at the trivial loss for 75 steps and more."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        every = looks(history)
        last, mixed = every[-1], checks(history, "axes-mixed")
        if not below(last.either("emit_ratio"), self.emit):
            return None
        if mixed:
            return self._found(last, None, CAUSES["axes"], check_evidence(mixed))
        flat = tail(every, self._flat)
        if len(flat) >= self.patience and last.step - flat[0].step >= self.flat_steps and not moving(every):
            return self._found(last, every[-2], stuck_by(last.train("loss_ratio") or 0.0, self.wiring, self.weak))
        if history.context.stop.status in {"finished", "stopped"}:
            return self._found(last, None, CAUSES["short"])
        return None

    def _flat(self, look: Look, before: Look | None) -> bool:
        """All blank, late enough, and not falling."""
        ratio, falling = look.train("loss_ratio"), recent_fall(look, before)
        if not below(look.either("emit_ratio"), self.emit) or look.step < self.steps or ratio is None:
            return False
        return below(falling, self.fall_above if ratio > self.wiring else self.fall_near)

    def _found(self, last: Look, before: Look | None, cause: Cause, extra: tuple[Evidence, ...] = ()) -> Finding:
        ratio, falling = last.train("loss_ratio"), recent_fall(last, before)
        speed = "" if falling is None else f", {percent(abs(falling))} off that of 50 steps before"
        size = "" if ratio is None else f" The training loss is {number(ratio)} of the trivial loss{speed}."
        loss = (last.evidence("train", "loss_ratio", "loss {} of the trivial loss", 1.0),) if ratio is not None else ()
        return self.finding(
            severity=cause.severity,
            confidence=cause.confidence,
            claim="likely",
            title=f"Only blanks after {last.step:,} steps: {cause.title}",
            summary=f"After {last.step:,} steps the model puts out blanks only.{size} {cause.meaning}",
            evidence=(
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
                *last.shown("blank_share", "{} of the frames are blank", last.either("blank_expected")),
                *loss,
                *extra,
            ),
            against=(Evidence(signal="ctc/train/loss_fall_50", text=cause.against),),
            why="A model that emits nothing has a token error rate of 100 %; more epochs of the same do not help.",
            actions=cause.actions,
            next_test=cause.next_test,
            scope="ctc",
            epoch=last.epoch,
            explains=codes(115, 204, 205, 301, 302, 406, 411),
            excludes=("LD412",),
        )
