"""LD410: the loss is low and what is decoded is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Claim, Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import Look, above, check_advice, check_evidence, checks, codes, facts, held
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class CTCDecoder(Rule):
    """The decoder does not follow the loss: another blank, another vocabulary, other lengths."""

    code: ClassVar[str] = "LD410"
    name: ClassVar[str] = "ctc-decoder-disagrees"
    needs: ClassVar[tuple[str, ...]] = ("ctc.blank|ctc/val/ter",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    loss: float = 0.3
    """Loss over trivial loss up to which the loss says that the lines are read: healthy runs end at 0.03 to 0.22."""
    errors: float = 0.5
    """Token error rate that contradicts it."""
    patience: int = 3
    """Evaluations in a row; one transient was seen in healthy runs while the tokens were being learnt."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        other = checks(history, "decoder-blank")
        if other:
            known = facts(history)
            return self._found(
                f"The loss uses blank={known.blank}, the decoder blank={known.decoder_blank}.",
                check_evidence(other),
                check_advice(other),
                confidence=0.97,
                claim="established",
            )
        last = held(history, self._contradicts, self.patience)
        if last is None:
            return None
        ratio, errors = last.either("loss_ratio") or 0.0, last.either("ter") or 0.0
        return self._found(
            f"The loss is {number(ratio)} of the trivial loss, and {percent(errors)} of the tokens are decoded wrongly.",
            (*last.shown("loss_ratio", "loss {} of the trivial loss"), *last.shown("ter", "token error rate {}", 0.1)),
            ("use one blank index, one vocabulary and one set of lengths for loss and decoder",),
            confidence=0.7,
            claim="likely",
        )

    def _contradicts(self, look: Look, _before: Look | None) -> bool:
        ratio = look.either("loss_ratio")
        return ratio is not None and 0 <= ratio < self.loss and above(look.either("ter"), self.errors)

    def _found(
        self, text: str, evidence: tuple[Evidence, ...], advice: tuple[str, ...], *, confidence: float, claim: Claim
    ) -> Finding:
        return self.finding(
            severity="error",
            confidence=confidence,
            claim=claim,
            title="The decoder does not follow the loss",
            summary=text,
            evidence=evidence,
            why="The model may be good: its error rate and its texts are those of a wrong decoder.",
            actions=(*advice, "decode greedily by hand: argmax, merge repeats, drop the blank, and compare"),
            next_test="decode one training line greedily by hand and compare it with the decoder's text",
            scope="ctc",
            explains=codes(202, 203, 204, 301, 302, 402, 411, 606, 607),
            excludes=("LD401",),
        )
