"""LD408: validation numbers its tokens differently from training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import Look, above, below, codes, facts, held
from lightning_diag.rules.ctc_mapping import looks_renumbered, mapping_mends
from lightning_diag.words import p, percent


@dataclass(frozen=True, kw_only=True)
class CTCVocabulary(Rule):
    """Validation emits the right number of tokens, consistently the wrong ones."""

    code: ClassVar[str] = "LD408"
    name: ClassVar[str] = "ctc-validation-vocabulary-differs"
    needs: ClassVar[tuple[str, ...]] = ("ctc/val/ter", "ctc/train/loss_ratio")
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    val: float = 1.2
    """Validation loss over trivial loss: a shifted numbering gave 1.83 (100 tokens) to 3.5 (10 tokens)."""
    train: float = 0.6
    """Training loss over trivial loss below which training works."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        last = held(history, self._apart)
        if last is None:
            return None
        test, mended = facts(history).mapping, mapping_mends(history)
        if not mended and (test is not None or not looks_renumbered(last)):
            return None
        before = last.val("ter") or 0.0
        seen = f"{percent(before)} token errors, nearly all of them substitutions, at the right number of tokens"
        mapped: tuple[Evidence, ...] = ()
        if test is not None:
            seen = (
                f"a one-to-one map of the tokens, learnt on other lines, takes the errors from {percent(test.before)} to "
                f"{percent(test.after)} ({test.lines} lines, {p(test.p_value)})"
            )
            mapped = (Evidence(signal="ctc.mapping", text=seen, observed=test.after, expected=test.before),)
        return self.finding(
            severity="error",
            confidence=0.95 if mended else 0.6,
            claim="established" if mended else "likely",
            title="Validation numbers its tokens differently",
            summary=f"Validation puts out the right number of tokens and other ones: {seen}.",
            evidence=(
                *mapped,
                *last.shown("sub", "substitutions {} of the reference tokens"),
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
                *last.shown("loss_ratio", "validation loss {} of the trivial loss", 0.2),
            ),
            why="The model may be good: it is scored against another dictionary.",
            actions=(
                "build the token dictionary once, save it, and load the same file in training and validation",
                "sort the tokens before numbering them; a set or a folder listing has no fixed order",
            ),
            next_test="print the id of one token in both data sets",
            scope="val",
            epoch=last.epoch,
            explains=codes(201, 202, 203, 301, 302, 411, 604, 607, 608),
            excludes=("LD407",),
        )

    def _apart(self, look: Look, _before: Look | None) -> bool:
        return above(look.val("loss_ratio"), self.val) and below(look.train("loss_ratio"), self.train)
