"""LD411: tokens that the model never emits, although it reads the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import ClassRow, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.ctc_common import below, looks
from lightning_diag.words import listed, number, percent


@dataclass(frozen=True, kw_only=True)
class CTCNeverEmitted(Rule):
    """Some tokens of the references are never emitted, more often than chance would leave out."""

    code: ClassVar[str] = "LD411"
    name: ClassVar[str] = "ctc-tokens-never-emitted"
    needs: ClassVar[tuple[str, ...]] = ("classes:val", "ctc/val/ter")
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    errors: float = 0.4
    """Token error rate above which missing tokens are no finding of their own."""
    alpha: float = 0.01
    """Chance that a token which is read like the others would be missed each time, over all tokens (Bonferroni)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        record, every = history.last_stage("val"), looks(history)
        if record is None or not record.classes or not every:
            raise CannotTellError("the last validation has no counts per token")
        rate = every[-1].val("ter")
        if rate is None or not below(rate, self.errors):
            return None
        rows = [row for row in record.classes if row.support]
        correct, support = sum(row.correct for row in rows), sum(row.support for row in rows)
        miss = 1 - correct / support if support else 1.0
        missing = [row for row in rows if row.predicted == 0 and miss**row.support < self.alpha / len(rows)]
        return self._found(history, rows, missing, rate) if missing else None

    def _found(self, history: RunHistory, rows: list[ClassRow], missing: list[ClassRow], rate: float) -> Finding:
        tokens = sum(row.support for row in rows)
        lost = sum(row.support for row in missing)
        untaught = self._untaught(history, rows, missing)
        shown = listed([f"{history.class_name(row.index)} ({row.support} times)" for row in missing])
        text = f"never emitted: {shown}{', which training does not show' if untaught else ''}"
        return self.finding(
            severity="error" if untaught else "warning",
            confidence=0.9,
            claim="established",
            title=f"{len(missing)} of {len(rows)} tokens are never emitted{' and not in training' if untaught else ''}",
            summary=f"{text}; they are {percent(lost / tokens)} of the validation tokens, at {percent(rate)} errors over all.",
            evidence=(
                Evidence(signal="ctc.never_emitted", text=text, observed=float(len(missing)), expected=0.0),
                *untaught,
            ),
            why=f"At least {percent(lost / tokens)} of the tokens are wrong for this reason alone.",
            actions=(
                "check that these tokens occur in the training targets, under the same index",
                "check that none of them has the index of the blank or of padding",
                "more training lines with these tokens",
            ),
            next_test="count these tokens in the training targets",
            scope="ctc",
            epoch=looks(history)[-1].epoch,
            explains=("LD302", *(("LD201", "LD203", "LD207") if untaught else ())),
        )

    def _untaught(self, history: RunHistory, rows: list[ClassRow], missing: list[ClassRow]) -> tuple[Evidence, ...]:
        """Where training shows as many tokens fewer, in lines enough that the rarest of them would have been met."""
        seen = history.series("ctc/train/reference_tokens").finite.values
        each, record = history.series("ctc/train/tokens_per_line").finite.values, history.last_stage("train")
        if not seen or not each or record is None:
            return ()
        rarest = min(row.support for row in missing) / sum(row.support for row in rows)
        if max(seen) > len(rows) - len(missing) or (1 - rarest) ** (record.n * each[-1]) >= self.alpha / len(rows):
            return ()
        text = f"the training lines that were read hold {number(max(seen))} different tokens, validation {len(rows)}"
        return (
            Evidence(signal="ctc/train/reference_tokens", text=text, observed=max(seen), expected=float(len(rows))),
        )
