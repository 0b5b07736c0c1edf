"""LD402: the blank is also a label, or loss and decoder mean different blanks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import SETTLED_STEPS, Look, above, checks, codes, facts, held
from lightning_diag.words import number, of


@dataclass(frozen=True, kw_only=True)
class CTCBlankIndex(Rule):
    """The blank index clashes with a label, or the model uses another blank than the decoder."""

    code: ClassVar[str] = "LD402"
    name: ClassVar[str] = "ctc-blank-index"
    needs: ClassVar[tuple[str, ...]] = ("ctc.blank|ctc/val/emit_ratio|ctc/train/emit_ratio",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    steps: int = SETTLED_STEPS
    """Steps before which an output full of tokens is that of an untrained network."""
    emit: float = 1.5
    """Emitted over reference tokens: wrong blanks gave 1.95 to 2.07, healthy runs at most 1.00."""
    nonblank: float = 3.0
    """Non-blank frames per reference token: wrong blanks gave 5.9 to 6.0, healthy runs at most 2.2."""
    untrained: float = 1.2
    """Loss over trivial loss above which the network is untrained rather than decoded wrongly."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        clash = facts(history).blank_in_targets
        if clash and clash.k and not checks(history, "padding-counted"):
            return self._clash(history)
        last = held(history, self._floods)
        return self._flood(last) if last else None

    def _floods(self, look: Look, _before: Look | None) -> bool:
        ratio = look.either("loss_ratio")
        return (
            look.step >= self.steps
            and above(look.either("emit_ratio"), self.emit)
            and above(look.either("nonblank_per_token"), self.nonblank)
            and not above(ratio, self.untrained)
        )

    def _clash(self, history: RunHistory) -> Finding:
        known = facts(history)
        assert known.blank_in_targets is not None
        seen = f"{of(known.blank_in_targets)} of the target tokens equal the blank index {known.blank}"
        return self.finding(
            severity="error",
            confidence=0.98,
            claim="established",
            title=f"The blank ({known.blank}) is also a label",
            summary=f"{seen[0].upper()}{seen[1:]}: the loss may become negative and that token is never emitted.",
            evidence=(
                Evidence(signal="ctc.blank_in_targets", text=seen, observed=known.blank_in_targets.rate, expected=0.0),
            ),
            why="The blank cannot be learnt as a label; every occurrence of it in the targets is an error in the output.",
            actions=(
                "shift the labels (targets + 1 with blank=0), or give the blank its own index (blank=C-1, one output more)",
                "use the same index in the decoder",
            ),
            next_test="count targets equal to the blank in one batch: it must be 0",
            scope="ctc",
            explains=codes(201, 202, 203, 204, 205, 301, 302, 403, 406, 409, 410, 411, 606, 607),
            excludes=("LD401", "LD407", "LD408"),
        )

    def _flood(self, last: Look) -> Finding:
        emitted = last.either("emit_ratio") or 0.0
        return self.finding(
            severity="error",
            confidence=0.8,
            claim="likely",
            title="The decoder drops another token than the blank",
            summary=f"{number(emitted)} tokens are emitted per reference token although the loss is low: the index that the "
            "decoder drops is not the blank that the model learnt.",
            evidence=(
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
                *last.shown("nonblank_per_token", "{} non-blank frames per reference token", 1.3),
                *last.shown("loss_ratio", "loss {} of the trivial loss", 0.1),
            ),
            why="The decoded text is wrong although the model may be right.",
            actions=(
                "decode with the blank index of the loss",
                "check that the loss got the blank index of the vocabulary",
            ),
            next_test="decode one line with the most frequent token of the output as blank",
            scope="ctc",
            epoch=last.epoch,
            explains=codes(202, 203, 204, 301, 302, 410, 411),
            excludes=("LD401",),
        )
