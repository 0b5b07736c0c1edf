"""LD404: what the loss was given are no log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import Look, above, below, check_advice, check_evidence, checks, codes, held, looks

SYMPTOMS = codes(101, 102, 103, 115, 201, 202, 203, 204, 205, 207, 301, 302, 607, 401, 402, 406, 407, 409, 410, 411)
"""What a loss that is no likelihood can look like."""
WORDS = ("raw-scores", "probabilities", "wrong-axis")


@dataclass(frozen=True, kw_only=True)
class CTCLogProbs(Rule):
    """The CTC loss got raw scores, probabilities, or a softmax over the wrong axis or taken twice."""

    code: ClassVar[str] = "LD404"
    name: ClassVar[str] = "ctc-not-log-probabilities"
    needs: ClassVar[tuple[str, ...]] = ("ctc.blank|ctc/train/norm_error_share|ctc/val/norm_error_share",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    off: float = 0.01
    """Share of frames whose probabilities sum to something else than 1 (by more than 0.05): half precision stays within
    0.007, so even one frame in a hundred is none of its doing."""
    pinned: float = 0.5
    """Share of frames whose log-probabilities span exactly 1, the most that probabilities fed to a log-softmax can span."""
    pinned_steps: int = 50
    """Steps before which frames may span 1 by chance: untrained networks moved from 0.32 to 0.76 in 25 steps."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        found = checks(history, *WORDS)
        if found:
            harmless = found[0][0] != "probabilities" and self._learnt(history)
            return self._found(
                found[0][1].partition(" Do: ")[0],
                check_evidence(found),
                (*check_advice(found), "nn.CTCLoss does not normalise: it needs log_softmax over the classes"),
                harmless=harmless,
            )
        twice = held(history, self._pinned)
        if twice:
            return self._found(
                "The log-probabilities of a frame span exactly 1: a softmax was taken before log_softmax.",
                twice.shown("pinned_share", "{} of the frames span exactly 1", 0.0),
                ("log_probs = logits.log_softmax(-1), without a softmax before it",),
            )
        wrong = held(history, self._off)
        text = "The probabilities of a frame do not sum to 1."
        advice = ("log_probs = logits.log_softmax(-1) before the loss",)
        return self._found(text, wrong.shown("norm_error_share", "{} of the frames", 0.0), advice) if wrong else None

    def _pinned(self, look: Look, _before: Look | None) -> bool:
        return look.step >= self.pinned_steps and above(look.either("pinned_share"), self.pinned)

    def _off(self, look: Look, _before: Look | None) -> bool:
        return above(look.either("norm_error_share"), self.off)

    def _learnt(self, history: RunHistory) -> bool:
        """Whether the model reads well all the same: raw scores can train, more slowly."""
        every = looks(history)
        return bool(every) and below(every[-1].either("ter"), 0.5)

    def _found(
        self, text: str, evidence: tuple[Evidence, ...], advice: tuple[str, ...], *, harmless: bool = False
    ) -> Finding:
        return self.finding(
            severity="warning" if harmless else "error",
            confidence=0.97,
            claim="established",
            title="The CTC loss did not get log-probabilities",
            summary=text,
            evidence=evidence,
            why="The loss is then no likelihood: it can fall below zero, and its gradient pulls elsewhere."
            + (" This model learnt all the same, later than it could have." if harmless else ""),
            actions=advice,
            next_test="log_probs.exp().sum(-1) must be 1.00 in every frame of the first batch",
            scope="ctc",
            explains=SYMPTOMS,
        )
