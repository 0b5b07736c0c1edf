"""LD502: a part of the pretrained weights is not in the module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import WITHOUT_PRETRAINING
from lightning_diag.rules.pretraining import block_evidence, judged, load_action, share_evidence, where
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class WeightsPartlyLoaded(Rule):
    """Some blocks hold the checkpoint, others do not."""

    code: ClassVar[str] = "LD502"
    name: ClassVar[str] = "weights-partly-loaded"
    needs: ClassVar[tuple[str, ...]] = ("pretrain.checkpoint",)

    severe: float = 0.5
    """Share of equal weights below which it is an error: then most of the network starts at random."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        facts = judged(history)
        if facts.verdict != "partly loaded":
            return None
        share, blocks = facts.equal or 0.0, block_evidence(facts)
        return self.finding(
            severity="error" if share < self.severe else "warning",
            confidence=0.95,
            claim="established",
            title=f"Only {percent(share)} of the pretrained weights are in {where(facts)}",
            summary=f"{percent(share)} of the weights of {where(facts)} equal {facts.checkpoint}; the rest starts at random.",
            evidence=(share_evidence(facts), *blocks),
            against=(
                Evidence(signal="pretrain", text="nothing recorded says whether the rest was left out on purpose"),
            ),
            why="Features of the loaded blocks pass through random ones: most of what pretraining gave is lost at the start.",
            actions=(load_action(facts), "compare the names of the blocks that differ in both files"),
            next_test="load with the line above and run one step: every block must be at 100 %",
            scope="weights",
            explains=WITHOUT_PRETRAINING,
            excludes=("LD501",),
        )
