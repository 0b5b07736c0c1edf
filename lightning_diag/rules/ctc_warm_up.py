"""LD412: all blank, and that is normal so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import PLATEAU, above, below, codes, looks, recent_fall
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class CTCWarmUp(Rule):
    """The all-blank phase that every CTC model passes through; information, not a sickness."""

    code: ClassVar[str] = "LD412"
    name: ClassVar[str] = "ctc-warm-up"
    needs: ClassVar[tuple[str, ...]] = ("ctc/val/emit_ratio|ctc/train/emit_ratio",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    emit: float = PLATEAU
    """Emitted over reference tokens below which the output counts as all blank; healthy runs end at 0.97 to 1.00."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        last = looks(history)[-1]
        if not below(last.either("emit_ratio"), self.emit) or above(last.train("nonfinite_losses"), 0):
            return None
        falling = recent_fall(last, looks(history)[-2] if len(looks(history)) > 1 else None)
        since = "over the last 50 steps" if last.train("loss_fall_50") is not None else "since the evaluation before"
        speed = "" if falling is None else f" The loss fell by {percent(max(falling, 0.0))} {since}."
        ratio = last.train("loss_ratio")
        size = "" if ratio is None else f" It is {number(ratio)} of the trivial loss."
        loss = () if ratio is None else (last.evidence("train", "loss_ratio", "loss {} of the trivial loss", 1.0),)
        return self.finding(
            severity="info",
            confidence=0.6,
            claim="likely",
            title=f"Only blanks after {last.step:,} steps, normal so far",
            summary="The model puts out blanks only; every healthy CTC run does so at first and leaves this phase after 36 to "
            f"430 steps.{speed}{size}",
            evidence=(*last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0), *loss),
            against=(
                Evidence(signal="ctc/train/loss_fall_50", text="a collapse looks the same in a single evaluation"),
            ),
            why="Nothing is lost yet: in this phase the metrics are flat while the loss falls.",
            actions=("wait: judge again after 200 more steps", "with a rate below 5e-4, expect about 400 steps"),
            next_test="two more evaluations: the loss must keep falling below the trivial loss",
            scope="ctc",
            epoch=last.epoch,
            # in this phase nothing is emitted, and nothing else can be said of the model
            outweighs=codes(115, 204, 301, 302),
        )
