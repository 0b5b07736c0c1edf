"""LD407: the training lines were learnt by heart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import Look, above, below, codes, facts, held
from lightning_diag.rules.ctc_mapping import looks_renumbered, mapping_mends
from lightning_diag.rules.ctc_targets import looks_truncated
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class CTCMemorised(Rule):
    """Training is far below the trivial loss, validation is above it and always was."""

    code: ClassVar[str] = "LD407"
    name: ClassVar[str] = "ctc-memorised"
    needs: ClassVar[tuple[str, ...]] = ("ctc/val/loss_ratio", "ctc/train/loss_ratio")
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    val: float = 1.2
    """Validation loss over trivial loss: memorised runs ended at 1.33 to 2.7, healthy ones at 0.03 to 0.22."""
    train: float = 0.6
    """Training loss over trivial loss below which the training lines are learnt."""
    ever: float = 0.85
    """Validation loss over trivial loss that was never reached: a model that once generalised overfitted instead (LD201)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        last = held(history, self._apart)
        best = history.series("ctc/val/loss_ratio").best("min")
        if last is None or best is None or best[1] < self.ever:
            return None
        if mapping_mends(history) or looks_truncated(last):
            return None
        if looks_renumbered(last) and facts(history).mapping is None:
            return None  # the mapping test at the end of the fit decides
        return self._found(last, best)

    def _apart(self, look: Look, _before: Look | None) -> bool:
        return above(look.val("loss_ratio"), self.val) and below(look.train("loss_ratio"), self.train)

    def _found(self, last: Look, best: tuple[int, float]) -> Finding:
        val, train = last.val("loss_ratio") or 0.0, last.train("loss_ratio") or 0.0
        return self.finding(
            severity="error",
            confidence=0.8,
            claim="likely",
            title="Validation is worse than ignoring the input",
            summary=f"The training loss is {number(train)} of the trivial loss, validation {number(val)}: the lines were "
            f"learnt by heart. Validation never got below {number(best[1])} (epoch {best[0]}).",
            evidence=(
                last.evidence("val", "loss_ratio", "validation loss {} of the trivial loss", 1.0),
                last.evidence("train", "loss_ratio", "training loss {} of the trivial loss"),
                *last.shown("ter", "validation token error rate {}"),
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
            ),
            against=_against(last),
            why="What was learnt does not hold for new lines; longer training makes it worse.",
            actions=(
                "check that each line has its own target: shuffled pairs are memorised in just this way",
                "check that validation lines are prepared like those of training (direction, padding, normalisation, frame rate)",
                "check that the pretrained encoder is loaded (PretrainLoadVerifier): CTC signals cannot see it",
                "more lines or augmentation, fewer trained parameters (freeze the encoder)",
            ),
            next_test="train on half of the lines: if validation does not change, the targets do not belong to the inputs",
            scope="ctc",
            epoch=last.epoch,
            explains=codes(201, 202, 203, 302, 411, 602),
            excludes=("LD408",),
        )


def _against(last: Look) -> tuple[Evidence, ...]:
    """Substitutions alone would rather be another numbering."""
    swaps, rate = last.val("sub"), last.val("ter")
    if swaps is None or rate is None or not swaps > 0.7 * rate:
        return ()
    text = (
        f"{percent(swaps)} substitutions of {percent(rate)} errors: another numbering of the tokens would look similar"
    )
    return (Evidence(signal="ctc/val/sub", text=text, observed=swaps),)
