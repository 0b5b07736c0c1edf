"""LD409: targets that lost their end, or that count their padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import Look, check_advice, check_evidence, checks, codes, held
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class CTCTargets(Rule):
    """Training targets are shorter than those of validation, or hold padding."""

    code: ClassVar[str] = "LD409"
    name: ClassVar[str] = "ctc-targets-truncated-or-padded"
    needs: ClassVar[tuple[str, ...]] = ("ctc.blank|ctc/val/del",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    shorter: float = 0.75
    """Tokens per frame in training over validation: the same material has the same density in both."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        padded = checks(history, "padding-counted")
        if padded:
            return self._padded(padded)
        last = held(history, lambda look, _: looks_truncated(look, self.shorter))
        return self._truncated(last) if last else None

    def _padded(self, found: tuple[tuple[str, str], ...]) -> Finding:
        return self.finding(
            severity="error",
            confidence=0.96,
            claim="established",
            title="Target lengths count the padding",
            summary=found[0][1].partition(" Do: ")[0],
            evidence=check_evidence(found),
            why="The model learns to end every line with padding, and the frames that needs are taken from the tokens.",
            actions=check_advice(found),
            next_test="sum(target_lengths) must equal the number of tokens in the texts of the batch",
            scope="ctc",
            explains=codes(202, 203, 204, 205, 302, 401, 402, 403, 406, 407, 410, 411, 606, 607),
        )

    def _truncated(self, last: Look) -> Finding:
        ours, theirs = last.train("tokens_per_frame") or 0.0, last.val("tokens_per_frame") or 1.0
        missing, emitted = last.val("del") or 0.0, last.val("emit_ratio") or 0.0
        return self.finding(
            severity="error",
            confidence=0.85,
            claim="likely",
            title="Training targets are shorter than those of validation",
            summary=f"Training targets have {percent(ours / theirs)} of the tokens per frame of validation, and validation "
            f"misses tokens: {percent(missing)} deletions, {number(emitted)} tokens emitted per reference token.",
            evidence=(
                last.evidence("train", "tokens_per_frame", "{} tokens per frame in training", theirs),
                last.evidence("val", "del", "deletions {} of the reference tokens", 0.0),
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
            ),
            against=(
                Evidence(signal="ctc/val/tokens_per_frame", text="validation may simply be spoken or written faster"),
            ),
            why="The model learns to leave out what its targets leave out.",
            actions=(
                "compare the targets of three training lines with their texts: look for a maximum length or a lost suffix",
                "filter lines that are too long instead of cutting their targets",
            ),
            next_test="mean target length and mean frames, in training and in validation",
            scope="train",
            epoch=last.epoch,
            explains=codes(201, 202, 203, 205, 302, 407, 410, 604, 606, 607),
            excludes=("LD408",),
        )


def looks_truncated(look: Look, shorter: float = 0.75) -> bool:
    """Denser targets in validation, where the model misses tokens and hardly confuses any."""
    ours, theirs, emitted = look.train("tokens_per_frame"), look.val("tokens_per_frame"), look.val("emit_ratio")
    missing, swaps, added = look.val("del"), look.val("sub"), look.val("ins")
    if None in (ours, theirs, emitted, missing, swaps, added):
        return False
    fewer = float(ours or 0) < shorter * float(theirs or 0)
    return (
        fewer
        and 0.05 < float(emitted or 0) < 0.85
        and float(missing or 0) > 2 * (float(swaps or 0) + float(added or 0))
    )
